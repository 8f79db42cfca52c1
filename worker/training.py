"""Trainings: fit and judge, then publish the version in the very step that ends its job."""

import logging
from pathlib import Path

from msgspec import Struct, json

from jobs.errors import EffectConflict
from jobs.job import Claim, ClaimedJob, Effect, Outcome, State
from models import artifact, train
from models.card import Card, Metrics
from models.dataset import BadTrainingData, Dataset, read
from models.options import TrainOptions
from models.packaged import packaged_csv
from models.predictor import Predictor
from models.registry import Registry
from worker.failure import describe, failed
from worker.limits import TimeLimit, time_limit
from worker.process import Finish

log = logging.getLogger("mldeploy.worker")


class TrainedModel(Struct, frozen=True):
    name: str
    version: int


class TrainResult(Struct, frozen=True):
    """A training's result: what was made, how it was judged, and whether it serves now."""

    model: TrainedModel
    metrics: Metrics
    champion_metrics: Metrics | None
    promoted: bool
    reason: str


class Training:
    def __init__(self, registry: Registry, store: Path, limit: float) -> None:
        self._registry = registry
        self._store = store
        self._limit = limit

    def do(self, claim: Claim, finish: Finish) -> None:
        job = claim.jobs[0]
        options = json.decode(job.options, type=TrainOptions)
        champion = self._champion(options.model)
        try:
            with time_limit(self._limit):
                dataset = self._dataset(job, options, champion)
                card = train.train(dataset, options, self._store, claim.version, job.id, job.fence, champion)
        except BadTrainingData as error:
            finish([failed(job, "bad-training-data", str(error))], ())
        except TimeLimit:
            finish([failed(job, "time-limit", f"the training took longer than {self._limit:g} s")], ())
        except MemoryError:
            finish([failed(job, "out-of-memory", "the training ran out of memory")], ())
        except Exception as error:  # noqa: BLE001 - whatever an estimator raises fails its own job
            finish([failed(job, "training-failed", describe(error))], ())
        else:
            self._publish(job, options, card, dataset, champion, finish)

    def _publish(
        self, job: ClaimedJob, options: TrainOptions, card: Card, dataset: Dataset, champion: Card | None, finish: Finish
    ) -> None:
        """If the champion moves meanwhile, the challenger is judged again, against the new one."""
        while True:
            judged = self._judge(champion, card, dataset)
            verdict = train.decide(card, champion, judged, options.promote)
            model = TrainedModel(card.name, card.version)
            result = TrainResult(model, card.metrics, verdict.champion_metrics, verdict.promoted, verdict.reason)
            changes = self._registry.publication(card, verdict.champion, verdict.promoted)
            try:
                finish([Outcome(job, State.SUCCEEDED, json.encode(result))], [Effect(*change) for change in changes])
                return
            except EffectConflict:
                champion = self._champion(card.name)

    def _champion(self, name: str) -> Card | None:
        return self._registry.look_up(name)

    def _dataset(self, job: ClaimedJob, options: TrainOptions, champion: Card | None) -> Dataset:
        """The rows sent, or else those that the champion was made from, or else the packaged ones."""
        target = options.target or (champion.schema.target if champion else "")
        if job.payload:
            return read(job.payload, target)
        csv = artifact.training_set(self._store, champion) if champion else packaged_csv(options.model)
        if csv is None:
            raise BadTrainingData(f"there are no rows to train {options.model} on: send a CSV")
        return read(csv, target)

    def _judge(self, champion: Card | None, challenger: Card, dataset: Dataset) -> Metrics | None:
        """The champion on the challenger's test rows; None if it cannot be asked about them."""
        if champion is None or not train.comparable(champion, challenger):
            return None
        try:
            return train.judge(Predictor(champion.schema, artifact.load(self._store, champion)), dataset)
        except Exception:
            log.exception("%s version %d cannot be judged", champion.name, champion.version)
            return None
