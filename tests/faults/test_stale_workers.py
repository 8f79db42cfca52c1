"""A task outlasts its lease, and a worker is frozen for two leases and resumed."""

import signal
from collections.abc import Callable

import psutil

from jobs.job import Record, State
from mldeploy.client import Client
from tests.faults import witness
from tests.faults.load import Announcements, read
from tests.processes import Pieces, Running, until

Assemble = Callable[..., Pieces]
Figures = list[str]
LEASE = 1.5
STALE = b"had been passed to another worker"


def record_of(pieces: Pieces, job_id: str) -> Record:
    record = pieces.ledger.get(job_id)
    assert record is not None
    return record


def holder(groups: list[Running], record: Record) -> Running:
    return next(group for group in groups if f"-{group.popen.pid}-" in (record.worker or ""))


def refusals(group: Running) -> int:
    return group.log.read_bytes().count(STALE)


def outlasts(pieces: Pieces, stale: Running, other: Running, job_id: str, refused: int) -> None:
    """Freeze the parent, which renews the lease; its child works on and is done while the next worker still works."""
    stale.popen.send_signal(signal.SIGSTOP)
    until(lambda: holder([stale, other], record_of(pieces, job_id)) is other, 20, "the other works on it")
    until(lambda: refusals(stale) == refused, 20, "the stale finish is refused")
    stale.popen.send_signal(signal.SIGCONT)


def is_frozen(pieces: Pieces, stale: Running, other: Running, job_id: str, refused: int) -> None:
    """Freeze the whole group until the other worker is done, and resume it with the job in its hands."""
    stale.signal_all(signal.SIGSTOP)
    until(lambda: record_of(pieces, job_id).state.final, 20, "the other has done it")
    stale.signal_all(signal.SIGCONT)
    until(lambda: refusals(stale) == refused, 20, "the stale finish is refused")


def test_stale_finish_is_refused(assemble: Assemble, chaos: bool, figures: Figures) -> None:
    """The job's result is that of the worker whose claim is current."""
    pieces = assemble(lease=LEASE, predict_workers=1)
    witness.publish(pieces)
    announced, client, job_ids = Announcements(pieces.ledger), Client(pieces.url), []
    groups = [pieces.worker(name=name) for name in "AB"]
    for turn in range(20 if chaos else 2):
        job = client.predict({"seconds": 2 * LEASE}, model="witness")
        job_ids.append(job.id)
        until(lambda: record_of(pieces, job.id).state is State.RUNNING, 20, "it is in hand")  # noqa: B023
        stale = holder(groups, record_of(pieces, job.id))
        other = groups[1 - groups.index(stale)]
        before = refusals(stale), refusals(other)
        (outlasts, is_frozen)[turn % 2](pieces, stale, other, job.id, before[0] + 1)
        until(lambda: record_of(pieces, job.id).state.final, 20, "it has ended")  # noqa: B023
        digest, body = read(pieces.url, job.id)
        assert psutil.Process(body["result"]["prediction"]).ppid() == other.popen.pid
        assert (body["attempts"], refusals(other)) == (2, before[1])
        until(lambda: all(pieces.is_ready(group) for group in groups), 20, "both hold their leases")
        assert client.predict({"seconds": 0}, model="witness").wait(20)["prediction"]
        assert read(pieces.url, job.id)[0] == digest, "a final answer has changed"
    counts = announced.drain()
    announced.close()
    assert {counts[job_id] for job_id in job_ids} == {1}
    figures.append(f"{len(job_ids)} jobs outlasted their lease or their frozen worker; every stale finish was refused")
