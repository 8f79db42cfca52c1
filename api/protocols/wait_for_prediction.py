"""A prediction that its client waits for, as other servers' protocols have it. It is a job as any other, batched with them."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from api.http.context import service
from api.http.prefer import preferred
from api.http.problems import HTTPProblem
from api.inputs.measurements import MeasurementInput
from api.routes.predict import Jobs, PredictQuery, with_version
from api.submission import submit_and_wait
from api.submit_options import SubmitQuery, terms_of
from jobs.failures import job_error
from jobs.job import Record, State
from models.results import Prediction, Predictions
from models.schema import Schema

# Of a route that answers so, beside those of every route of its kind.
PROBLEMS = (
    *("unknown-model", "unknown-version", "invalid-input", "too-many-rows", "too-many-models", "prediction-failed"),
    *("not-in-time", "too-many-waiting", "lane-full", "full", "job-too-large"),
)

_predictions = msgspec.json.Decoder(Predictions)


class Answered(NamedTuple):
    """``predictions`` in the order of the measurements; ``headers`` for the answer."""

    record: Record
    predictions: list[Prediction]
    headers: list[tuple[str, str]]


async def answered(asked: PredictQuery, given_for: Callable[[Schema], MeasurementInput]) -> Answered:
    """``given_for`` makes measurements for a schema. Raises HTTPProblem if there is no prediction within the seconds of
    `Prefer: wait`, or as long as this server lets anyone wait; the job goes on then."""
    if service().waiters.is_full:
        raise HTTPProblem(
            "too-many-waiting", "Too many clients wait: send it again later, or submit it to /predict, which need not wait."
        )
    return await with_version(asked, given_for, _end_of, terms_of(SubmitQuery()))


async def _end_of(jobs: Jobs) -> Answered:
    most, preference, url = service().settings.max_wait, preferred(), f"/result/{jobs[-1].id}"
    seconds = most if preference.wait is None else preference.seconds(most)
    record, _ = await submit_and_wait(jobs, seconds)
    headers = [] if preference.wait is None else preference.applied(seconds, final=True)
    if record is None or not record.state.final:
        detail = f"The job was accepted, did not end within {seconds:g} s and goes on: GET {url} tells its end."
        raise HTTPProblem("not-in-time", detail, ("Location", url), *headers)
    if record.state is not State.SUCCEEDED:
        raise HTTPProblem("prediction-failed", f"{_why(record)} (GET {url})", ("Location", url), *headers)
    assert record.result is not None
    return Answered(record, _predictions.decode(record.result).predictions, headers)


def _why(record: Record) -> str:
    error = job_error(record.error) if record.error else None
    return f"{error.title}: {error.detail}" if error else f"The job has {record.state}"
