"""The errors of jobs that end without a result: their types, for programs, and titles."""

import msgspec
from msgspec import Struct

TYPE = "urn:problem-type:mldeploy:"

DEFAULT_TITLE = "The job failed"  # for a type of a later release

TITLES = {
    "canceled": "The job was canceled",
    "expired": "The job expired",
    "worker-died": "The worker died",
    "time-limit": "The job took too long",
    "out-of-memory": "The job ran out of memory",
    "prediction-failed": "The model raised an error",
    "model-missing": "The version does not exist",
    "corrupt-artifact": "The model's file was altered",
    "bad-training-data": "The training set cannot be used",
    "training-failed": "The training failed",
    "adding-failed": "The rows could not be added",
    "result-too-large": "There is no room for the result",
    "store-failed": "The store did not take or give what it should",
}


class Failure(Struct, frozen=True):
    """The error in a record. ``type``: a key of TITLES; ``detail``: a sentence for people."""

    type: str
    detail: str

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


DIED = Failure("worker-died", "The worker process died each time it worked on this job.")
LAPSED = Failure("worker-died", "The worker fell silent again and again while it had this job alone.")
TIMED_OUT = Failure("time-limit", "The job ran over its time limit.")
# The scripts of jobs/lua end jobs with these
EXPIRED = Failure("expired", "The job had not started when its deadline came.")
CANCELED = Failure("canceled", "The job was canceled before it started.")
STOPPED = Failure("canceled", "The job was canceled while it ran; its work was thrown away.")
NO_ROOM = Failure("result-too-large", "The result is larger than what was reserved for it, and Redis has no room for more.")


class JobError(Struct, frozen=True):
    """Why a job has no result, in the words of a problem (RFC 9457)."""

    type: str
    title: str
    detail: str


def job_error(stored: bytes) -> JobError:
    """Decode the error of a record."""
    error = msgspec.json.decode(stored, type=Failure)
    return JobError(TYPE + error.type, TITLES.get(error.type, DEFAULT_TITLE), error.detail)
