"""Predictions: all rows of a claim in one `predict`. If that raises, the claim is bisected, so that only the faulty job fails."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from msgspec import json

from jobs.errors import LedgerError
from jobs.failures import Failure
from jobs.job import Claim, ClaimedJob, Outcome, State
from jobs.ledger import Ledger
from modeler.artifact import CorruptArtifact, UnloadableHere
from modeler.predictor import ModelCache, Predictor
from models.card import Card
from models.feature import Value
from models.options import PredictOptions
from models.registry import Registry
from models.results import Label, Prediction, Predictions, SinglePrediction
from models.rollout import Rollout
from worker.failure_messages import describe, failed
from worker.load_reports import LoadReports
from worker.process import Finish, Unloadable, retry_until_available
from worker.time_limit import TimeLimit, time_limit

log = logging.getLogger("mldeploy.worker")

CHECK_INTERVAL = 0.2  # seconds between two checks for versions that are about to serve


class PredictHandler:
    def __init__(
        self,
        owner: str,
        ledger: Ledger,
        registry: Registry,
        rollout: Rollout,
        loaded: ModelCache,
        reports: LoadReports,
        limit: float,
    ) -> None:
        self._owner = owner
        self._ledger = ledger
        self._registry = registry
        self._rollout = rollout
        self._loaded = loaded
        self._reports = reports
        self._limit = limit
        self._next_check = 0.0

    def on_idle(self) -> None:
        """Loads and tries the versions of a rollout when it is this process's turn."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_INTERVAL
        for name, version in self._rollout.pending(self._owner):
            if self._rollout.take_turn(name, version, self._owner):
                self._rollout.report(name, version, self._owner, self._try(name, version))
        with suppress(LedgerError):
            self._reports.refresh()

    def _try(self, name: str, version: int) -> str:
        """The reason why this process cannot load the version and predict with it; empty if it can."""
        try:
            with time_limit(self._limit):
                card = self._rollout.card(name, version)
                self._loaded.get(card).warm()
        except (Exception, TimeLimit) as error:
            log.exception("%s version %d cannot be served by this process", name, version)
            return describe(error)
        return ""

    def handle(self, claim: Claim, finish: Finish) -> None:
        """Raises Unloadable, and for a claim of several jobs TimeLimit or MemoryError."""
        predictor = self._predictor(claim)
        if isinstance(predictor, Failure):
            finish([failed(job, predictor.type, predictor.detail) for job in claim.jobs], ())
        else:
            finish(self._outcomes(predictor, claim.jobs), ())

    def _predictor(self, claim: Claim) -> Predictor | Failure:
        """The loaded version, or why all jobs of the claim fail. Raises Unloadable if another worker may load it."""
        card = self._registry.card(claim.model, claim.version)
        if card is None:
            return self._missing(claim)
        try:
            found = self._load(card)
        except Unloadable as error:
            self._reports.failed(claim.model, claim.version, str(error))
            raise
        if isinstance(found, Failure):
            self._reports.failed(claim.model, claim.version, found.detail)
        return found

    def _load(self, card: Card) -> Predictor | Failure:
        """Raises Unloadable."""
        try:
            return self._loaded.get(card)
        except (UnloadableHere, OSError, ImportError, AttributeError) as error:
            raise Unloadable(describe(error)) from error
        except CorruptArtifact as error:
            return Failure("corrupt-artifact", str(error))
        except MemoryError:
            return Failure("out-of-memory", "there is not enough memory to load the model")
        except Exception as error:  # noqa: BLE001 - whatever unpickling raises
            return Failure("prediction-failed", f"the model cannot be loaded: {describe(error)}")

    def _missing(self, claim: Claim) -> Failure:
        """The failure of a version that does not exist: if it was reserved, the error of its training."""
        version = f"{claim.model} version {claim.version}"
        holder = claim.jobs[0].after
        training = retry_until_available(lambda: self._ledger.get(holder)) if holder else None
        if training is None or training.error is None:
            return Failure("model-missing", f"{version} does not exist")
        cause = json.decode(training.error, type=Failure)
        return Failure("training-failed", f"{version} could not be trained (job {holder}): {cause.detail}")

    def _outcomes(self, predictor: Predictor, jobs: Sequence[ClaimedJob]) -> list[Outcome]:
        """Raises TimeLimit or MemoryError if there are several jobs."""
        try:
            with time_limit(self._limit):
                return self._bisect(predictor, jobs)
        except (TimeLimit, MemoryError) as error:
            if len(jobs) > 1:
                raise
            out_of_memory = isinstance(error, MemoryError)
            detail = "the model ran out of memory" if out_of_memory else f"the prediction took longer than {self._limit:g} s"
            return [failed(jobs[0], "out-of-memory" if out_of_memory else "time-limit", detail)]

    def _bisect(self, predictor: Predictor, jobs: Sequence[ClaimedJob]) -> list[Outcome]:
        try:
            return _predict(predictor, jobs)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model raises fails its own job
            if len(jobs) == 1:
                return [failed(jobs[0], "prediction-failed", describe(error))]
            middle = len(jobs) // 2
            return self._bisect(predictor, jobs[:middle]) + self._bisect(predictor, jobs[middle:])


def _predict(predictor: Predictor, jobs: Sequence[ClaimedJob]) -> list[Outcome]:
    rows: list[Any] = [row for job in jobs for row in predictor.schema.unpack(job.payload)]
    options = [json.decode(job.options, type=PredictOptions) for job in jobs]
    labels = predictor.predict(rows)
    if len(labels) != len(rows):
        raise ValueError(f"the model gave {len(labels)} predictions for {len(rows)} rows")
    tables = predictor.probabilities(rows) if any(requested.proba for requested in options) else None
    outcomes, start = [], 0
    for job, requested in zip(jobs, options, strict=True):
        part = slice(start, start + job.rows)
        predictions = _predictions(labels[part], tables[part] if tables and requested.proba else None)
        body = _single(predictions[0], predictor.schema.decode(rows[start])) if requested.single else Predictions(predictions)
        outcomes.append(Outcome(job, State.SUCCEEDED, json.encode(body)))
        start += job.rows
    return outcomes


def _predictions(labels: list[Label], tables: list[dict[str, float]] | None) -> list[Prediction]:
    if tables is None:
        return [Prediction(prediction=label) for label in labels]
    return [Prediction(prediction=label, probabilities=table) for label, table in zip(labels, tables, strict=True)]


def _single(made: Prediction, row: dict[str, Value]) -> SinglePrediction:
    return SinglePrediction(prediction=made.prediction, probabilities=made.probabilities, input=row)
