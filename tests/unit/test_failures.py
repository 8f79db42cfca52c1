"""Why a job failed, as a record has it."""

from jobs.failures import JobError, job_error


def test_a_failure_that_a_later_release_has_is_told_as_it_is() -> None:
    told = job_error(b'{"type": "gpu-lost", "detail": "the card fell off the bus"}')
    assert told == JobError("urn:problem-type:mldeploy:gpu-lost", "The job failed", "the card fell off the bus")
