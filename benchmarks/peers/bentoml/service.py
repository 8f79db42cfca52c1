"""BentoML: the model behind a task, polled."""

import os

import bentoml
import joblib


@bentoml.service(workers=1)
class Iris:
    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.task
    def predict(self, row: list[float]) -> str:
        return str(self.model.predict([row])[0])
