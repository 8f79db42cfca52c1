"""Errors as RFC 9457 problems: one table of what there is, one place where exceptions become answers."""

import logging
from http import HTTPStatus

import msgspec
from msgspec import Struct
from werkzeug.exceptions import HTTPException

from api.exchange import Answer, exchange
from api.swaps import TooManyMoves
from jobs.errors import AfterFailed, LaneFull, LedgerFull, LedgerUnavailable, Moved
from models.datasets import UnknownDataset
from models.faults import Fault, InvalidInput, MalformedInput, TooManyRows
from models.moves import NothingToRollBackTo
from models.registry import MovedMeanwhile, TooManyAliases, TooManyModels, UnknownModel, UnknownVersion
from models.rollout import CannotServe

log = logging.getLogger("mldeploy.api")

TYPE = "urn:problem-type:mldeploy:"
RETRY_AFTER = {429: "1", 503: "1"}


class TooManyUploads(Exception):
    """As much is being received as may be."""


class SlowBody(Exception):
    """The body did not arrive in time."""


# code: (status, title). Those without a status are of failed jobs, not of requests.
PROBLEMS: dict[str, tuple[int | None, str]] = {
    "malformed-input": (400, "The body is not JSON"),
    "bad-table": (422, "The body is not a table that can be trained on"),
    "invalid-input": (422, "The input is not what is taken"),
    "slow-body": (408, "The body did not arrive in time"),
    "too-many-rows": (422, "Too many measurements in one request"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "This content type is not taken"),
    "unknown-model": (404, "There is no such model"),
    "unknown-version": (404, "The model has no such version"),
    "unknown-dataset": (404, "There is no such data set"),
    "nothing-before": (409, "There is no version to roll back to"),
    "cannot-serve": (409, "No worker can load the version"),
    "champion-stays": (409, "The champion cannot be taken away"),
    "too-many-moves": (429, "Too many aliases are being moved"),
    "too-many-aliases": (409, "There are as many aliases as may be"),
    "moved-meanwhile": (409, "The model's aliases keep moving"),
    "too-many-datasets": (409, "There are as many data sets as may be"),
    "unknown-job": (404, "There never was such a job"),
    "forgotten-job": (410, "The job has been forgotten"),
    "job-running": (409, "The job is running"),
    "job-final": (409, "The job has ended already"),
    "too-many-models": (409, "There are as many models as may be"),
    "too-many-uploads": (503, "Too many requests are being received"),
    "lane-full": (429, "Too much is waiting"),
    "unavailable": (503, "The queue does not answer"),
    "full": (503, "The queue is full"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "internal-error": (500, "Something went wrong in the service"),
    "canceled": (None, "The job was canceled"),
    "worker-died": (None, "The worker died"),
    "time-limit": (None, "The job took too long"),
    "out-of-memory": (None, "The job ran out of memory"),
    "prediction-failed": (None, "The model raised an error"),
    "model-missing": (None, "The version does not exist"),
    "corrupt-artifact": (None, "The model's file was altered"),
    "bad-training-data": (None, "The training set cannot be used"),
    "training-failed": (None, "The training failed"),
    "adding-failed": (None, "The rows could not be added"),
    "store-failed": (None, "The store did not take or give what it should"),
}

CODES: dict[type[Exception], str] = {
    MalformedInput: "malformed-input",
    InvalidInput: "invalid-input",
    TooManyRows: "too-many-rows",
    UnknownModel: "unknown-model",
    UnknownVersion: "unknown-version",
    UnknownDataset: "unknown-dataset",
    NothingToRollBackTo: "nothing-before",
    CannotServe: "cannot-serve",
    MovedMeanwhile: "moved-meanwhile",
    TooManyAliases: "too-many-aliases",
    TooManyMoves: "too-many-moves",
    TooManyModels: "too-many-models",
    TooManyUploads: "too-many-uploads",
    SlowBody: "slow-body",
    LaneFull: "lane-full",
    LedgerUnavailable: "unavailable",
    LedgerFull: "full",
    AfterFailed: "unavailable",
    Moved: "unavailable",
}

ROUTES = "/predict, /train, /result/<id>, /models, /datasets, /health/live and /health/ready"

HTTP_CODES = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large", 415: "unsupported-media-type"}

DETAILS = {
    "unavailable": "It is not known whether the request was accepted: send it again.",
}


class Problem(Struct, frozen=True, omit_defaults=True):
    """``errors`` points at what is wrong with the input."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] = []


class JobError(Struct, frozen=True):
    """Why a job failed, in the words of a problem."""

    type: str
    title: str
    detail: str


class Refusal(Exception):
    """A request that is refused for a reason of HTTP alone."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def job_error(code: str, detail: str) -> JobError:
    return JobError(TYPE + code, PROBLEMS[code][1], detail)


def answer(error: Exception) -> Answer:
    """Whatever went wrong with a request, as it is told to its client."""
    if isinstance(error, Refusal):
        return _answer(error.code, str(error))
    if isinstance(error, HTTPException):
        return _http_error(error)
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
    if code is None:
        log.exception("%s %r", exchange().method, exchange().path, exc_info=error)
        return _answer("internal-error", "The error has been logged.")
    faults = error.faults if isinstance(error, InvalidInput) else []
    return _answer(code, DETAILS.get(code, str(error)), faults)


def _http_error(error: HTTPException) -> Answer:
    """Of werkzeug's routing, or of a body."""
    status = error.code or 500
    code = HTTP_CODES.get(status)
    if code is None:
        problem = Problem("about:blank", HTTPStatus(status).phrase, status, error.description or "", exchange().path)
        return _respond(problem)
    allowed = [(name, value) for name, value in error.get_headers() if name == "Allow"]
    told = _answer(code, _http_detail(code, error))
    return told._replace(headers=told.headers + allowed)


def _http_detail(code: str, error: HTTPException) -> str:
    path = exchange().path
    if code == "body-too-large":
        return f"A body has at most {exchange().service.settings.max_body:,} bytes: send less at a time."
    if code == "method-not-allowed":
        return f"{path} takes {', '.join(sorted(getattr(error, 'valid_methods', None) or ()))}."
    return f"There is no route {path}; there are {ROUTES}."


def _answer(code: str, detail: str, faults: list[Fault] | None = None) -> Answer:
    status, title = PROBLEMS[code]
    return _respond(Problem(TYPE + code, title, status or 500, detail, exchange().path, faults or []))


def _respond(problem: Problem) -> Answer:
    headers = [("Content-Type", "application/problem+json")]
    if problem.status in RETRY_AFTER:
        headers.append(("Retry-After", RETRY_AFTER[problem.status]))
    return Answer(msgspec.json.encode(problem), problem.status, headers)
