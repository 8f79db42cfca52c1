"""Rows for a data set: checked against what it has, each row once, stored, and known in the very step that ends the job."""

import logging

from msgspec import json

from jobs.errors import EffectConflict, NoRoom
from jobs.job import Claim, ClaimedJob, Effect, Outcome, State
from modeler import dataset_parts, table
from modeler.dataset_parts import LostRows
from modeler.table import BadTrainingData, Table
from models.datasets import DatasetRecord, Datasets, Found, shown
from models.options import AddTask
from models.results import Added
from models.store import Store
from worker.failure_messages import describe, failed
from worker.process import Finish
from worker.time_limit import TimeLimit, time_limit

log = logging.getLogger("mldeploy.worker")

TRIES = 50  # while others add too


class TooManyDatasets(RuntimeError):
    """The caller has as many as may be."""


class AddRows:
    def __init__(self, datasets: Datasets, store: Store, limit: float, most: int) -> None:
        """``limit``: seconds for one job; ``most``: data sets of one caller."""
        self._datasets = datasets
        self._store = store
        self._limit = limit
        self._most = most

    def handle(self, claim: Claim, task: AddTask, finish: Finish) -> None:
        """If the data set changes meanwhile, what was sent is held against what it has become."""
        job = claim.jobs[0]
        for _ in range(TRIES):
            found = self._datasets.find(task.dataset)
            outcome, record = self._tried(found, task, job)
            changes = self._datasets.change(found, record) if record and record != found.record else []
            try:
                finish([outcome], [Effect(*change) for change in changes])
                return
            except EffectConflict:
                continue
            except NoRoom as error:
                finish([failed(job, "adding-failed", f"{error}. The data set is as it was.")], ())
                return
        finish([failed(job, "adding-failed", f"{shown(task.dataset)} kept changing: send the rows again")], ())

    def _tried(self, found: Found, task: AddTask, job: ClaimedJob) -> tuple[Outcome, DatasetRecord | None]:
        try:
            with time_limit(self._limit):
                record, added = self._add(found, task, job.payload)
        except TimeLimit:
            return failed(job, "time-limit", f"it took longer than {self._limit:g} s"), None
        except Exception as error:  # noqa: BLE001 - whatever a table can do to a library fails its own job
            return _failure(job, error), None
        return Outcome(job, State.SUCCEEDED, json.encode(added)), record

    def _add(self, found: Found, task: AddTask, payload: bytes) -> tuple[DatasetRecord, Added]:
        record = found.record
        sent = table.read(payload, task.format, record.types if record else None)
        if record is None:
            if not self._datasets.has_room(task.dataset, self._most):  # others were made since this was accepted
                raise TooManyDatasets(f"there are as many data sets as may be: {self._most}")
            return self._first(task, sent)
        known = dataset_parts.read(self._store, record.parts)
        fresh, duplicates = dataset_parts.new_rows(record, known, sent)
        if len(fresh.frame):
            record = dataset_parts.extended(record, self._store, known, fresh)
        return record, Added(shown(record.name), len(fresh.frame), duplicates, record.rows, record.revision)

    def _first(self, task: AddTask, sent: Table) -> tuple[DatasetRecord, Added]:
        once, duplicates = dataset_parts.each_once(sent)
        record = dataset_parts.first(task.dataset, once, "", "", 0.0, dataset_parts.write(self._store, once))
        return record, Added(shown(record.name), record.rows, duplicates, record.rows, record.revision)


def _failure(job: ClaimedJob, error: Exception) -> Outcome:
    if isinstance(error, BadTrainingData):
        return failed(job, "bad-training-data", str(error))
    if isinstance(error, TooManyDatasets):
        return failed(job, "adding-failed", str(error))
    if isinstance(error, MemoryError):
        return failed(job, "out-of-memory", "there was not enough memory")
    if isinstance(error, OSError | LostRows):
        return failed(job, "store-failed", f"{describe(error)}. The data set is as it was.")
    log.error("rows could not be added", exc_info=error)
    return failed(job, "adding-failed", describe(error))
