"""The handler of the workers that train: trainings, and rows for data sets."""

from msgspec import json

from jobs.job import Claim
from jobs.ledger import Ledger
from models.options import AddTask, TrainTask
from worker.handlers.add_rows import AddRowsHandler
from worker.handlers.train import TrainHandler
from worker.process import Finish
from worker.progress import Progress
from worker.store_survey import StoreSurvey


class TrainerHandler:
    def __init__(self, ledger: Ledger, owner: str, training: TrainHandler, adding: AddRowsHandler, survey: StoreSurvey) -> None:
        self._ledger = ledger
        self._owner = owner
        self._training = training
        self._adding = adding
        self._survey = survey

    def handle(self, claim: Claim, finish: Finish) -> None:
        task: TrainTask | AddTask = json.decode(claim.jobs[0].options, type=TrainTask | AddTask)
        if isinstance(task, AddTask):
            self._adding.handle(claim, task, finish)
        else:
            self._training.handle(claim, task, Progress(self._ledger, self._owner, claim.jobs[0]), finish)

    def on_idle(self) -> None:
        """Surveys the store if that is due, so that no training starts before a survey."""
        self._survey.refresh()
