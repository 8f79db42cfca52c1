"""The condition of the service, from what its parts record in the ledger: whether jobs are accepted and processed, or why not."""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from jobs.job import WORKERS, Kind
from settings import Settings

Status = Literal["ready", "degraded", "not-ready"]
Severity = Literal["degraded", "not-ready"]

RECONCILER_SILENT = 10.0  # seconds
MAX_STALLS = 3  # a stalled worker restarts itself after one
SMALLEST_JOB = 4096  # bytes of a job with one row, and its result
BROKER = "broker-unavailable"
NOT_ADOPTED = "versions-not-adopted"

CHECK_LOG = "look into its log, and start it if it does not run"


class Reason(Struct, frozen=True):
    """Why the service is not ready, or degraded: a code for programs, what was found, and what to do about it."""

    code: str
    severity: Severity
    detail: str
    action: str


class Observation(Struct, frozen=True):
    """The reply of ``condition.lua``. Times are seconds, None for what has never happened; sizes are bytes. ``refuses``: why no
    jobs are accepted. ``open``: the size of the jobs that have not ended. ``loadable``: those of the ``unloadable`` groups that
    another worker has loaded."""

    reconciled: float | None
    refuses: str
    taken: int
    room: int | None
    open: int
    workers: dict[str, int]
    seen: dict[str, float | None]
    starved: dict[str, float]
    unloadable: dict[str, str]
    loadable: dict[str, str]
    reports: dict[str, str]


REPORTED: dict[str, tuple[Severity, str]] = {  # problems that parts may report: code -> severity, action
    BROKER: ("not-ready", "start the broker at MLDEPLOY_BROKER_URL, or mend the network to it"),
    NOT_ADOPTED: (
        "degraded",
        "on the server `mldeploy models adopt` brings them back (`--dry-run` shows them)",
    ),
}


def observation(reply: Sequence[Any]) -> Observation:
    reconciled, refuses, taken, room, open_, kinds, unloadable, loadable, reports = reply
    by_kind = dict(zip(WORKERS, kinds, strict=True))
    return Observation(
        reconciled=_seconds(reconciled),
        refuses=refuses.decode(),
        taken=int(taken),
        room=None if int(room) < 0 else int(room),
        open=open_,
        workers={kind.value: found[0] for kind, found in by_kind.items()},
        seen={kind.value: _seconds(found[1]) for kind, found in by_kind.items()},
        starved={kind.value: found[2] / 1000 for kind, found in by_kind.items()},
        unloadable=_texts(unloadable),
        loadable=_texts(loadable),
        reports=_texts(reports),
    )


def reasons(seen: Observation, settings: Settings) -> list[Reason]:
    """All reasons except those of models: the ledger does not know which version is champion (see ``of_champion``)."""
    found = [_of_refusal(seen), _of_memory(seen), _of_reconciler(seen)]
    found += [_of_workers(kind, seen, settings) for kind in WORKERS]
    found += [_of_report(code, detail) for code, detail in seen.reports.items()]
    return [reason for reason in found if reason]


def of_champion(group: str, why: str, *, is_default: bool, loaded_elsewhere: bool) -> Reason:
    """Some workers, or all, could not load the champion version of a model."""
    stops = is_default and not loaded_elsewhere
    who = "some workers cannot load" if loaded_elsewhere else "no worker can load"
    return Reason(
        "champion-unloadable",
        "not-ready" if stops else "degraded",
        f"{who} {group.replace('/', ' version ')}, which is champion: {why}",
        "mend what the error names, roll back to a version that can be loaded, or train the model again",
    )


def of_redis(why: str) -> Reason:
    action = f"Redis is at MLDEPLOY_REDIS_URL: {CHECK_LOG}"
    return Reason("redis-unavailable", "not-ready", f"Redis does not answer: {why}", action)


def status_of(found: Sequence[Reason]) -> Status:
    if any(reason.severity == "not-ready" for reason in found):
        return "not-ready"
    return "degraded" if found else "ready"


def _of_refusal(seen: Observation) -> Reason | None:
    if not seen.refuses:
        return None
    action = "make room, or change the setting that it names; results can be read meanwhile"
    return Reason("refuses-jobs", "not-ready", f"nothing is accepted: {seen.refuses}", action)


def _of_memory(seen: Observation) -> Reason | None:
    """While jobs are open, their ends make room; otherwise only an operator can."""
    if seen.room is None or seen.taken + SMALLEST_JOB <= seen.room:
        return None
    detail = f"nothing is accepted: {seen.taken:,} bytes of Redis's memory are taken, of {seen.room:,} that jobs may have"
    if seen.open > 0:
        return Reason("memory-full", "degraded", detail, "wait until jobs end, start more workers, or raise Redis's maxmemory")
    return Reason("memory-full", "not-ready", detail, "raise Redis's maxmemory, or remove models and keys that are not needed")


def _of_reconciler(seen: Observation) -> Reason | None:
    if seen.reconciled is not None and seen.reconciled <= RECONCILER_SILENT:
        return None
    since = "has never run" if seen.reconciled is None else f"has been silent for {seen.reconciled:.0f} s"
    detail = f"the reconciler {since}: the work of a machine that dies waits, nothing expires or is forgotten"
    return Reason("reconciler-silent", "degraded", detail, f"`python -m jobs.reconciler`: {CHECK_LOG}")


def _of_workers(kind: Kind, seen: Observation, settings: Settings) -> Reason | None:
    """A worker that restarts is reported missing after a lease, like one that died; until then the service is only degraded."""
    severity: Severity = "not-ready" if kind is Kind.PREDICT else "degraded"
    last, starved = seen.seen[kind], seen.starved[kind]
    command = "python -m worker.webhooks" if kind is Kind.WEBHOOK else f"python -m worker {kind}"
    if not seen.workers[kind]:
        since = "ever was there" if last is None else f"has been there for {last:.0f} s"
        if last is not None and last <= settings.lease:
            severity = "degraded"
        return Reason(f"no-{kind}-worker", severity, f"no {kind} worker {since}: its jobs wait", f"`{command}`: {CHECK_LOG}")
    if starved > MAX_STALLS * settings.stall:
        detail = f"{kind} jobs have waited for {starved:.0f} s with no worker at them"
        return Reason(f"{kind}-worker-stalled", severity, detail, f"`{command}`: look into its log, and restart it")
    return None


def _of_report(code: str, detail: str) -> Reason | None:
    if code not in REPORTED:  # of a newer release
        return None
    severity, action = REPORTED[code]
    return Reason(code, severity, detail, action)


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000


def _texts(flat: Sequence[bytes]) -> dict[str, str]:
    return {name.decode(): text.decode() for name, text in zip(flat[::2], flat[1::2], strict=True)}
