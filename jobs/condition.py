"""Whether jobs are accepted and done, and if not, why: from what the parts of the service keep in the ledger about themselves."""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from jobs.job import WORKERS, Kind
from settings import Settings

Status = Literal["ready", "degraded", "not-ready"]
Severity = Literal["degraded", "not-ready"]

RECONCILER_SILENT = 10.0  # seconds
STALLS = 3  # a worker that has stalled restarts itself after one
SMALLEST_JOB = 4096  # bytes that a job of one row takes with its result
BROKER = "broker-unavailable"
NOT_ADOPTED = "versions-not-adopted"

LOG = "look into its log, and start it if it does not run"


class Reason(Struct, frozen=True):
    """Why the service is not ready, or degraded: a code for programs, what was found, and what to do about it."""

    code: str
    severity: Severity
    detail: str
    action: str


class Observation(Struct, frozen=True):
    """What ``condition.lua`` has read. Times are seconds, and None for what never was; sizes are bytes. ``refuses`` is why
    nothing is accepted, ``open`` the size of jobs that have not ended. Of groups that a worker could not load, ``loadable`` are
    those that another one has loaded."""

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


REPORTED: dict[str, tuple[Severity, str]] = {  # what a part may report, how bad that is, and what to do about it
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
    """All but those of models: which version is to serve is not the ledger's to know (see ``of_champion``)."""
    found = [_of_refusal(seen), _of_memory(seen), _of_reconciler(seen)]
    found += [_of_workers(kind, seen, settings) for kind in WORKERS]
    found += [_of_report(code, detail) for code, detail in seen.reports.items()]
    return [reason for reason in found if reason]


def of_champion(group: str, why: str, *, is_default: bool, loaded_elsewhere: bool) -> Reason:
    """The version that serves a model could not be loaded by some worker, or by any."""
    stops = is_default and not loaded_elsewhere
    who = "some workers cannot load" if loaded_elsewhere else "no worker can load"
    return Reason(
        "champion-unloadable",
        "not-ready" if stops else "degraded",
        f"{who} {group.replace('/', ' version ')}, which is champion: {why}",
        "mend what the error names, roll back to a version that can be loaded, or train the model again",
    )


def of_redis(why: str) -> Reason:
    return Reason("redis-unavailable", "not-ready", f"Redis does not answer: {why}", f"Redis is at MLDEPLOY_REDIS_URL: {LOG}")


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
    """While jobs are open each that ends makes room; else only an operator does."""
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
    return Reason("reconciler-silent", "degraded", detail, f"`python -m jobs.reconciler`: {LOG}")


def _of_workers(kind: Kind, seen: Observation, settings: Settings) -> Reason | None:
    """One that restarts is missed after a lease, as one that died would be: until then the service is no worse than degraded."""
    severity: Severity = "not-ready" if kind is Kind.PREDICT else "degraded"
    last, starved = seen.seen[kind], seen.starved[kind]
    command = "python -m worker.webhooks" if kind is Kind.WEBHOOK else f"python -m worker {kind}"
    if not seen.workers[kind]:
        since = "ever was there" if last is None else f"has been there for {last:.0f} s"
        if last is not None and last <= settings.lease:
            severity = "degraded"
        return Reason(f"no-{kind}-worker", severity, f"no {kind} worker {since}: its jobs wait", f"`{command}`: {LOG}")
    if starved > STALLS * settings.stall:
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
