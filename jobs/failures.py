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


class JobError(Struct, frozen=True):
    """Why a job has no result, in the words of a problem (RFC 9457)."""

    type: str
    title: str
    detail: str


class _Stored(Struct):
    type: str
    detail: str


def job_error(stored: bytes) -> JobError:
    """Decode the error of a record."""
    error = msgspec.json.decode(stored, type=_Stored)
    return JobError(TYPE + error.type, TITLES.get(error.type, DEFAULT_TITLE), error.detail)
