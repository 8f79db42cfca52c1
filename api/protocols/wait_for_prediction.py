"""Submits a prediction and waits for its result, as the protocols of other servers require. It is a job like any other."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from api.http.context import service
from api.http.prefer import preferred
from api.http.problems import HTTPProblem
from api.inputs.measurements import MeasurementInput
from api.routes.predict import Jobs, PredictQuery, with_version
from api.submission import submit_and_wait
from api.submit_options import SubmitQuery, submit_options_of
from jobs.failures import job_error
from jobs.job import Record, State
from models.results import Prediction, Predictions
from models.schema import Schema

# Problems of a route that waits, beside those of every route of its kind.
PROBLEMS = (
    *("unknown-model", "unknown-version", "invalid-input", "too-many-rows", "too-many-models", "prediction-failed"),
    *("not-in-time", "too-many-waiting", "lane-full", "full", "job-too-large"),
)

_predictions = msgspec.json.Decoder(Predictions)


class WaitedPrediction(NamedTuple):
    """``predictions`` are in the order of the measurements; ``headers`` belong in the response."""

    record: Record
    predictions: list[Prediction]
    headers: list[tuple[str, str]]


async def wait_for_prediction(query: PredictQuery, read_input: Callable[[Schema], MeasurementInput]) -> WaitedPrediction:
    """``read_input`` reads the measurements for a schema. Raises HTTPProblem if there is no prediction within the seconds of
    `Prefer: wait`, or within the server's maximum wait; the job then goes on."""
    if service().waiters.is_full:
        raise HTTPProblem(
            "too-many-waiting", "Too many clients wait: send it again later, or submit it to /predict, which need not wait."
        )
    return await with_version(query, read_input, _submit_and_wait, submit_options_of(SubmitQuery()))


async def _submit_and_wait(jobs: Jobs) -> WaitedPrediction:
    max_wait, preference, url = service().settings.max_wait, preferred(), f"/result/{jobs[-1].id}"
    seconds = max_wait if preference.wait is None else preference.seconds(max_wait)
    record, _ = await submit_and_wait(jobs, seconds)
    headers = [] if preference.wait is None else preference.applied(seconds, final=True)
    if record is None or not record.state.final:
        detail = f"The job was accepted, did not end within {seconds:g} s and goes on: GET {url} shows its end."
        raise HTTPProblem("not-in-time", detail, ("Location", url), *headers)
    if record.state is not State.SUCCEEDED:
        raise HTTPProblem("prediction-failed", f"{_failure_text(record)} (GET {url})", ("Location", url), *headers)
    assert record.result is not None
    return WaitedPrediction(record, _predictions.decode(record.result).predictions, headers)


def _failure_text(record: Record) -> str:
    error = job_error(record.error) if record.error else None
    return f"{error.title}: {error.detail}" if error else f"The job has {record.state}"
