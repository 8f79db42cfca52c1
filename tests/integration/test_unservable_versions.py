"""Versions that do not exist, were altered, are gone, or that this worker cannot load."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import sklearn

from jobs.job import Job, Kind
from mldeploy.client import Client, JobFailed
from tests.integration.jobs import ended, error_of
from tests.poison import expected, publish, row
from tests.processes import Pieces, until

Assemble = Callable[..., Pieces]


def test_a_job_that_reaches_a_worker_without_a_model_fails_clearly(shared: Pieces) -> None:
    pieces = shared
    ghost = Job(pieces.ledger.new_id(), Kind.PREDICT, "ghost", 1, 1, b"\x90", b"{}")
    pieces.ledger.add([ghost])
    until(lambda: ended(pieces, ghost.id), 20, "the job ends")
    assert b"ghost version 1 does not exist" in error_of(pieces, ghost.id)


def test_an_altered_artifact_fails_its_jobs_and_no_others(shared: Pieces) -> None:
    pieces = shared
    publish(pieces, "altered")
    file = Path(pieces.settings.store_location) / "altered" / "1-1" / "model.joblib"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    client = Client(pieces.url)
    bad, good = client.predict(row(1), model="altered"), client.predict(row(2), model="poison")
    with pytest.raises(JobFailed, match="not the one that was published"):
        bad.wait(20)
    assert good.wait(20)["prediction"] == expected(2)


def test_a_version_whose_file_is_gone_fails_its_jobs_clearly(shared: Pieces) -> None:
    pieces = shared
    publish(pieces, "gone")
    (Path(pieces.settings.store_location) / "gone" / "1-1" / "model.joblib").unlink()
    job = Client(pieces.url).predict(row(1), model="gone")
    with pytest.raises(JobFailed, match="gone from the store"):
        job.wait(20)


@pytest.mark.slow
def test_jobs_wait_for_a_worker_that_can_load_their_version(assemble: Assemble) -> None:
    pieces = assemble()
    publish(pieces, "later")
    key = f"{pieces.ledger.prefix}model:later"
    card = cast("bytes", pieces.ledger.redis.hget(key, "card:1"))
    pieces.ledger.redis.hset(key, "card:1", card.replace(sklearn.__version__.encode(), b"0.24.1"))
    client = Client(pieces.url)
    job = client.predict(row(1), model="later")
    worker = pieces.worker()
    assert client.predict(row(2), model="poison").wait(20)["prediction"] == expected(2)
    until(lambda: job.reload().status == "queued" and job.answer.get("attempts", 0) == 0, 10, "it waits again")
    assert "or `mldeploy models refit`" in worker.log.read_text()
    assert "0.24.1" in Client(pieces.url).ready()["unloadable"]["later/1"]
    pieces.ledger.redis.hset(key, "card:1", card)  # as for a worker with that scikit-learn
    worker.terminate()
    pieces.worker()
    assert job.wait(20)["prediction"] == expected(1)
