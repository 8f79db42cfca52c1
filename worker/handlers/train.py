"""Trainings: fit and evaluate, let the workers load a better version, then publish it in the step that ends the job."""

import logging

from msgspec import json

from jobs.errors import ChangesRejected, NoRoom
from jobs.job import Claim, ClaimedJob, Outcome, State
from modeler import dataset, dataset_parts, train
from modeler.artifact import ArtifactStore
from modeler.data_warnings import data_warnings
from modeler.dataset_parts import LostRows
from modeler.errors import BadTrainingData
from modeler.table import Table
from modeler.train import Made
from models.card import Card
from models.datasets import Datasets, unscoped_name
from models.gate import Comparison, Verdict, challengers, decide, required_confidence
from models.inventory import Inventory, NumberTaken
from models.options import TrainOptions, TrainTask
from models.registry import Registry
from models.results import TrainedModel, TrainedOn, TrainResult
from models.rollout import CannotServe
from settings import Settings
from worker.failure_messages import describe, failed
from worker.handlers.rollout import ChampionRollout
from worker.handlers.training_rows import Source, dataset_changes, training_rows
from worker.process import Finish
from worker.progress import Progress
from worker.time_limit import TimeLimit, time_limit

log = logging.getLogger("mldeploy.worker")

MAX_REPORTED = 100  # columns in a result
MAX_TRIES = 50  # to publish, while other jobs publish too


class TrainHandler:
    def __init__(
        self,
        registry: Registry,
        datasets: Datasets,
        artifacts: ArtifactStore,
        inventory: Inventory,
        rollout: ChampionRollout,
        settings: Settings,
    ) -> None:
        self._registry = registry
        self._datasets = datasets
        self._artifacts = artifacts
        self._inventory = inventory
        self._rollout = rollout
        self._settings = settings

    def handle(self, claim: Claim, task: TrainTask, progress: Progress, finish: Finish) -> None:
        job, limit = claim.jobs[0], self._settings.train_limit
        try:
            with time_limit(limit):
                source, made, card = self._make(claim, task, progress)
        except BadTrainingData as error:
            finish([failed(job, "bad-training-data", str(error))], ())
        except NumberTaken as error:
            finish([failed(job, "training-failed", str(error))], ())
        except TimeLimit:
            finish([failed(job, "time-limit", f"the training took longer than {limit:g} s")], ())
        except MemoryError:
            finish([failed(job, "out-of-memory", "the training ran out of memory")], ())
        except (OSError, LostRows) as error:
            finish([failed(job, "store-failed", f"{describe(error)}. What serves is as it was.")], ())
        except Exception as error:
            log.exception("training %s failed", claim.group)
            finish([failed(job, "training-failed", describe(error))], ())
        else:
            progress(*train.stage("load"))
            self._publish(job, task.options, source, made, card, finish)

    def _make(self, claim: Claim, task: TrainTask, progress: Progress) -> tuple[Source, Made, Card]:
        job, options = claim.jobs[0], task.options
        folder = self._inventory.begin(options.model, claim.version, job.fence)
        champion = self._registry.look_up(options.model)
        progress(*train.stage("read"))
        source = training_rows(task, job.payload, champion, self._datasets, self._artifacts.store)
        target = options.target or source.target
        unknown = options.unknown or (champion.unknown if champion else "refuse")
        same = champion is not None and champion.schema.target == target
        ready = dataset.make(
            source.table,
            target=target,
            weight=options.weight or source.weight,
            task=options.task or (champion.schema.task if champion and same else None),
            unknown=unknown,
            test_share=source.test_share,
            group=options.group or ("" if options.time else source.group),
            time=options.time or ("" if options.group else source.time),
            ignore=source.reading.ignored,
        )
        planned = train.plan(options, champion, ready, source.estimator, self._settings.estimators)
        made = train.make(ready, planned, options.confidence, progress)
        progress(*train.stage("save"))
        parts = source.parts or (dataset_parts.write(self._artifacts.store, source.table, source.sources),)
        source = source.stored(parts)
        data = train.data_of(ready, source.name, tuple(part.sha256 for part in parts))
        model = self._registry.model(options.model)
        earlier = list(model.cards.values()) if model else []
        count = challengers(earlier, made.name, made.params, data) if champion else 0
        return (
            source,
            made,
            train.save(made, self._artifacts, options.model, claim.version, job.id, folder, data, challengers=count),
        )

    def _publish(self, job: ClaimedJob, options: TrainOptions, source: Source, made: Made, card: Card, finish: Finish) -> None:
        """Evaluates the challenger again if the champion or the data set changes meanwhile."""
        for _ in range(MAX_TRIES):
            champion = self._registry.look_up(card.name)
            comparison = self._comparison(champion, source, made, card, options)
            verdict = self._loaded_first(card, decide(options, made.metric, comparison))
            changes = self._registry.publication(
                card, verdict.promoted, champion.version if champion else None, f"training {job.id}", verdict.reason
            )
            changes += dataset_changes(source, made.dataset, verdict.promoted, self._datasets)
            result = TrainResult(
                model=TrainedModel(card.name, card.version),
                metrics=comparison.ours or card.metrics,
                champion_metrics=comparison.theirs if champion else None,
                baseline_metrics=card.baseline_metrics,
                improvement=verdict.improvement,
                promoted=verdict.promoted,
                reason=verdict.reason,
                dataset=TrainedOn(unscoped_name(card.data.dataset), card.data.rows, card.data.training_rows, card.data.sha256),
                estimator=card.estimator,
                warnings=[*source.warnings, *data_warnings(made.dataset), *made.warnings],
                unknown=card.unknown,
                columns=source.table.report.columns[:MAX_REPORTED],
            )
            try:
                finish([Outcome(job, State.SUCCEEDED, json.encode(result))], changes)
            except ChangesRejected:
                continue
            except NoRoom as error:
                self._inventory.remove(card.artifact.folder)
                detail = f"{error}: train on fewer classes or categories, or raise MLDEPLOY_MAXMEMORY"
                finish([failed(job, "training-failed", detail)], ())
                return
            self._rollout.tidy(card.name)
            return
        self._inventory.remove(card.artifact.folder)
        finish([failed(job, "training-failed", f"{card.name} was deleted meanwhile, or kept changing: train again")], ())

    def _comparison(self, champion: Card | None, source: Source, made: Made, card: Card, options: TrainOptions) -> Comparison:
        if champion is None:
            return train.compare_with_baseline(made, card)

        def known() -> Table | None:
            record = self._datasets.find(champion.data.dataset).record
            all_of_it = record and not source.sent and source.name == record.name
            return dataset_parts.read(self._artifacts.store, record.parts) if record and not all_of_it else None

        required = required_confidence(options.confidence, card.challengers)
        return train.compare_with_champion(made, champion, self._artifacts, known, max(1, card.challengers), required)

    def _loaded_first(self, card: Card, verdict: Verdict) -> Verdict:
        """Lets the workers load and try the version before the alias moves."""
        if verdict.promoted:
            try:
                self._rollout.await_loaded(card)
            except CannotServe as error:
                return Verdict(False, str(error), verdict.improvement)
        return verdict
