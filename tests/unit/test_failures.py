"""The reason of a failed job in its record."""

from jobs.failures import JobError, job_error


def test_unknown_failure_of_a_later_release_is_passed_on() -> None:
    error = job_error(b'{"type": "gpu-lost", "detail": "the card fell off the bus"}')
    assert error == JobError("urn:problem-type:mldeploy:gpu-lost", "The job failed", "the card fell off the bus")
