"""Errors as RFC 9457 problems: the table of all problems, and the conversion of exceptions to responses."""

import logging
from http.client import responses

import msgspec
from msgspec import Struct
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api.alias_moves import TooManyMoves
from api.http.context import api_context
from api.http.protocol_errors import error_members
from api.parquet_process import BadParquet, TooManyFiles
from api.server.body import BodyCut, BodyTooLarge, SlowBody
from api.server.memory_budget import NoRoom
from api.server.request import BadRequest
from api.server.response import Response
from auth.rates import RatesUnavailable
from jobs.errors import AfterFailed, JobTooLarge, KeyReused, LaneFull, LedgerFull, LedgerUnavailable, PreconditionFailed
from jobs.failures import TYPE
from models.alias_history import NothingToRollBackTo
from models.datasets import UnknownDataset
from models.input_errors import InputError, InvalidInput, MalformedInput, TooManyRows
from models.registry import MovedMeanwhile, TooManyAliases, TooManyModels, UnknownModel, UnknownVersion
from models.rollout import CannotServe

log = logging.getLogger("mldeploy.api")

RETRYABLE = (429, 503)


class RateLimited(Exception):
    """The key has made as many requests as it may. ``retry_after``: seconds until the next one."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


# By code: the status of the response, and the title.
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "This is not HTTP/1.1 as it is taken"),
    "malformed-input": (400, "The body is not JSON"),
    "bad-table": (422, "The table cannot be used"),
    "invalid-input": (422, "The input is not what is taken"),
    "slow-body": (408, "The body did not arrive in time"),
    "slow-request": (408, "The request did not arrive in time"),
    "address-too-long": (414, "The address is too long"),
    "head-too-large": (431, "The headers are too large"),
    "expectation-failed": (417, "This expectation is not met"),
    "too-many-rows": (422, "Too many measurements in one request"),
    "body-too-large": (413, "The body is too large"),
    "job-too-large": (413, "The job is too large for the queue"),
    "unsupported-media-type": (415, "This content type is not supported"),
    "unknown-model": (404, "There is no such model"),
    "unknown-version": (404, "The model has no such version"),
    "unknown-dataset": (404, "There is no such data set"),
    "nothing-before": (409, "There is no version to roll back to"),
    "cannot-serve": (409, "No worker can load the version"),
    "champion-stays": (409, "The champion cannot be taken away"),
    "too-many-moves": (429, "Too many aliases are being moved"),
    "too-many-aliases": (409, "There are too many aliases already"),
    "moved-meanwhile": (409, "The model's aliases keep moving"),
    "too-many-datasets": (409, "There are too many data sets already"),
    "unknown-job": (404, "There never was such a job"),
    "forgotten-job": (410, "The job has been forgotten"),
    "job-final": (409, "The job has ended already"),
    "too-many-models": (409, "There are too many models already"),
    "unauthorized": (401, "A key is needed"),
    "forbidden": (403, "The key may not do this"),
    "foreign-host": (403, "The request is for another host"),
    "foreign-origin": (403, "The request comes from another site"),
    "rate-limited": (429, "Too many requests with this key"),
    "bad-idempotency-key": (400, "This Idempotency-Key is not valid"),
    "idempotency-key-reused": (422, "The Idempotency-Key came with another request"),
    "prediction-failed": (422, "There is no prediction"),
    "not-in-time": (504, "The job is not done yet"),
    "too-many-waiting": (503, "Too many clients wait"),
    "too-many-connections": (503, "Too many clients are connected"),
    "too-many-uploads": (503, "Too many requests are being received"),
    "lane-full": (429, "Too much is waiting"),
    "unavailable": (503, "The queue does not answer"),
    "full": (503, "The queue is full"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "internal-error": (500, "Something went wrong in the service"),
}

CODES: dict[type[Exception], str] = {
    MalformedInput: "malformed-input",
    InvalidInput: "invalid-input",
    BadParquet: "bad-table",
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
    NoRoom: "too-many-uploads",
    TooManyFiles: "too-many-uploads",
    SlowBody: "slow-body",
    BodyCut: "malformed-input",
    LaneFull: "lane-full",
    JobTooLarge: "job-too-large",
    LedgerUnavailable: "unavailable",
    LedgerFull: "full",
    AfterFailed: "unavailable",
    PreconditionFailed: "unavailable",
    KeyReused: "idempotency-key-reused",
    RateLimited: "rate-limited",
    RatesUnavailable: "unavailable",
}

ROUTES = (
    "/predict, /train, /result/<id>, /jobs, /models, /datasets, /webhook-secret, /health/live, /health/ready, /v2, /invocations, "
    "/ping, /version, /docs and /openapi.json"
)

HTTP_CODES = {404: "not-found", 405: "method-not-allowed", 415: "unsupported-media-type"}

DETAILS = {
    "unavailable": "It is not known whether the request was accepted: send it again.",
}


class Problem(Struct, frozen=True, omit_defaults=True):
    """``errors`` points at what is wrong with the input. ``error``, ``error_code`` and ``message`` are for clients of other
    protocols."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[InputError] = []
    error: str = ""
    error_code: str = ""
    message: str = ""


class HTTPProblem(Exception):
    """An error that is defined by its problem code alone."""

    def __init__(self, code: str, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.code = code
        self.headers = headers


def response_for(error: Exception) -> Response:
    """The problem that a client gets for an error."""
    if isinstance(error, HTTPProblem):
        response = _problem_response(error.code, str(error))
        return response._replace(headers=[*response.headers, *error.headers])
    if isinstance(error, HTTPException):
        return _http_error(error)
    if isinstance(error, BodyTooLarge):
        return _problem_response(
            "body-too-large", f"A body has at most {api_context().service.settings.max_body:,} bytes: send less at a time."
        )
    code = error.code if isinstance(error, BadRequest) else next((CODES[kind] for kind in CODES if isinstance(error, kind)), None)
    if code is None:
        log_unexpected(error)
        return _problem_response("internal-error", "The error has been logged.")
    if isinstance(error, InvalidInput):
        return _problem_response(code, _summary(error.errors), error.errors)
    return _problem_response(code, DETAILS.get(code, str(error)), retry_after=getattr(error, "retry_after", 1))


def is_unexpected(error: Exception) -> bool:
    """Whether the error is a fault of the service."""
    expected = (HTTPProblem, HTTPException, BodyTooLarge, BadRequest, *CODES)
    return not isinstance(error, expected)


def log_unexpected(error: Exception) -> None:
    log.error("%s %r", api_context().method, api_context().path, exc_info=error)


def _summary(errors: list[InputError]) -> str:
    """Describes the first error and counts the others, for clients that show only the detail."""
    first, others = errors[0], len(errors) - 1
    text = f"{first.pointer}: {first.detail}" if first.pointer else first.detail
    return f"{text} (and {others} more)" if others else text


def _http_error(error: HTTPException) -> Response:
    """The problem for an error of werkzeug's: of its routing, or while it read a body."""
    status = error.code or 500
    code = HTTP_CODES.get(status)
    if code is None:
        problem = Problem("about:blank", responses.get(status, ""), status, error.description or "", api_context().path)
        response = _respond(problem)
        own_headers = [(name, value) for name, value in error.get_headers() if name != "Content-Type"]
        own_names = {name for name, _ in own_headers}
        return response._replace(headers=[*(pair for pair in response.headers if pair[0] not in own_names), *own_headers])
    response = _problem_response(code, _http_detail(code, error))
    if isinstance(error, MethodNotAllowed):
        response.headers.append(("Allow", ", ".join(sorted(error.valid_methods or ()))))
    return response


def _http_detail(code: str, error: HTTPException) -> str:
    path = api_context().path
    if error.description and error.description != type(error).description:  # set by a view of the operator
        return error.description
    if code == "method-not-allowed":
        return f"{path} takes {', '.join(sorted(getattr(error, 'valid_methods', None) or ()))}."
    return f"There is no route {path}; there are {ROUTES}."


def _problem_response(code: str, detail: str, errors: list[InputError] | None = None, retry_after: int = 1) -> Response:
    return _respond(_problem(code, detail, api_context().path, errors), retry_after)


def response_without_request(code: str, detail: str) -> Response:
    """The problem for bytes that are not a request, so that there is no path either."""
    return _respond(_problem(code, detail, ""))


def _problem(code: str, detail: str, path: str, errors: list[InputError] | None = None) -> Problem:
    status, title = PROBLEMS[code]
    return Problem(TYPE + code, title, status, detail, path, errors or [])


def _respond(problem: Problem, retry_after: int = 1) -> Response:
    headers = [("Content-Type", "application/problem+json")]
    if problem.status in RETRYABLE:
        headers.append(("Retry-After", str(retry_after)))
    members = error_members(problem.instance, problem.status, problem.detail)
    problem = msgspec.structs.replace(problem, **members) if members else problem
    return Response(msgspec.json.encode(problem), problem.status, headers)
