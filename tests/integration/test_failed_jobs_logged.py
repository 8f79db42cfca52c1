"""Each job that fails is logged in one line, whichever part ends it, and never twice."""

import re
import signal
from collections.abc import Callable

import pytest

from jobs.failure_log import FailureLog, failure_line
from jobs.job import Claim, ClaimRequest, Job, Kind, Metadata, Outcome, State, SubmitOptions
from jobs.ledger import FailedJob, Ledger
from mldeploy.client import Client, JobFailed
from tests.poison import row
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LINE = re.compile(
    r"[-\d]+ [:,\d]+ reconciler \d+ job (\w+) failed: kind=(\w+) model=(\S+) version=(\d+) error=([-\w]+)"
    r"( traceparent=\S+)? detail=.+"
)


def logged(pieces: Pieces) -> list[str]:
    """Return the lines of every log of every part."""
    return [
        line for log in sorted(pieces.folder.glob("*.log")) for line in log.read_text().split("\n") if " failed: kind=" in line
    ]


def lines_of(pieces: Pieces, job_id: str) -> list[str]:
    return [line for line in logged(pieces) if job_id in line]


def fail(pieces: Pieces, deed: str, trace: str = "") -> str:
    job = Client(pieces.url).predict(row(1, deed), model="poison", traceparent=trace)
    with pytest.raises(JobFailed):
        job.wait(60)
    return job.id


def failed_jobs(ledger: Ledger, count: int, detail: str = "no", trace: str = "") -> list[str]:
    ids = [ledger.new_id() for _ in range(count)]
    jobs = [
        Job(job_id, Kind.PREDICT, "m", 1, 1, b"x", submit_options=SubmitOptions(metadata=Metadata(trace=trace))) for job_id in ids
    ]
    ledger.add(jobs)
    claim = ledger.claim("w:1", "t", ClaimRequest("predict"))
    assert isinstance(claim, Claim)
    error = b'{"type":"prediction-failed","detail":"%s"}' % detail.encode()
    ledger.finish("w:1", [Outcome(job, State.FAILED, error) for job in claim.jobs])
    return ids


@pytest.mark.slow
def test_each_way_to_fail_is_logged_once_with_what_is_known_of_the_job(assemble: Assemble) -> None:
    pieces = assemble(predict_workers=1)
    pieces.worker()
    pieces.worker(Kind.TRAIN)
    raised, killed = fail(pieces, "raise", TRACE), fail(pieces, "kill")
    training = Client(pieces.url).train(b"a,b\n1,x\n", model="small")
    with pytest.raises(JobFailed):
        training.wait(60)
    fine = Client(pieces.url).predict(row(1), model="poison", traceparent=TRACE)
    assert fine.wait(20)
    last = fail(pieces, "raise")
    until(lambda: lines_of(pieces, last), 10, "the last one is logged")
    expected = {
        raised: ("predict", "poison", "1", "prediction-failed", f" traceparent={TRACE}"),
        killed: ("predict", "poison", "1", "worker-died", None),
        training.id: ("train", "small", "1", "bad-training-data", None),
        last: ("predict", "poison", "1", "prediction-failed", None),
    }
    found = [match.groups() for match in map(LINE.fullmatch, logged(pieces)) if match]
    assert {job_id: known for job_id, *known in found} == {job_id: list(known) for job_id, known in expected.items()}
    assert len(logged(pieces)) == len(expected)
    assert "this row is bad" in lines_of(pieces, raised)[0]


def test_job_ended_by_the_reconciler_is_logged(assemble: Assemble) -> None:
    pieces = assemble(predict_workers=1, max_lapses=1, lease=1.0)
    worker = pieces.worker()
    job = Client(pieces.url).predict(row(1, seconds=60.0), model="poison")
    until(lambda: job.reload().status == "running", 20, "it runs")
    worker.signal_all(signal.SIGSTOP)
    with pytest.raises(JobFailed, match="fell silent"):
        job.wait(30)
    until(lambda: lines_of(pieces, job.id), 10, "it is logged")
    assert "error=worker-died detail=The worker fell silent" in lines_of(pieces, job.id)[0]


@pytest.mark.slow
def test_failures_without_a_reconciler_are_logged_once_when_it_is_back(assemble: Assemble) -> None:
    pieces = assemble(reconciler=False, predict_workers=1)
    pieces.worker()
    failed = [fail(pieces, "raise") for _ in range(20)]
    assert logged(pieces) == []
    pieces.reconciler()
    pieces.python("second", "jobs.reconciler")
    last = fail(pieces, "raise")
    until(lambda: lines_of(pieces, last), 20, "the last one is logged")
    assert sorted(len(lines_of(pieces, job_id)) for job_id in failed) == [1] * 20


def test_failures_are_read_again_until_they_were_logged(ledger: Ledger) -> None:
    ids = failed_jobs(ledger, 3)
    assert [job.id for job in ledger.failed("one", 2)[1]] == ids[:2]
    assert [job.id for job in ledger.failed("one", 2)[1]] == ids[:2]
    assert [job.id for job in ledger.failed("two", 2)[1]] == ids[2:]
    for reader in ("one", "two"):
        ledger.forget_failed(reader)
        assert ledger.failed(reader, 2) == (0, [])


def test_lost_acknowledgement_logs_no_line_twice(
    ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed_jobs(ledger, 3)
    log = FailureLog(ledger)
    forget = ledger.forget_failed

    def lose_the_reply(reader: str) -> None:
        forget(reader)
        raise TimeoutError

    monkeypatch.setattr(ledger, "forget_failed", lose_the_reply)
    with pytest.raises(TimeoutError):
        log.round()
    monkeypatch.undo()
    failed_jobs(ledger, 1)
    log.round()
    assert len(caplog.messages) == len(set(caplog.messages)) == 4


def test_unlogged_failures_are_kept_up_to_a_limit_and_counted(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(81):
        failed_jobs(ledger, 125)
    FailureLog(ledger).round()
    assert len([text for text in caplog.messages if text.startswith("job ")]) == 10_000
    assert next(text for text in caplog.messages if "while nobody logged them" in text).startswith("125 more jobs")


def test_a_line_has_a_bounded_detail_and_says_if_the_record_was_forgotten() -> None:
    long = FailedJob("id", "predict", "m/1", b'{"type":"prediction-failed","detail":"%s"}' % (b"x" * 100_000), b"")
    assert len(failure_line(long)) < 1200
    assert "has been forgotten" in failure_line(FailedJob("id", "", "", b"", b""))
