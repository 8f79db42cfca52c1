"""The steps of the demo: train, predict, train again, replace the model, roll back."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from mldeploy.demo.conversation import Conversation, DemoFailed
from mldeploy.demo.page import Page
from modeler import artifact, dataset, table
from modeler.artifact import ArtifactStore
from models.card import Card
from models.packaged import packaged_csv

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
ANOTHER_ESTIMATOR = {"estimator": "RandomForestClassifier", "promote": "always"}


def run_story(url: str, artifacts: Callable[[], ArtifactStore], page: Page, api_key: str = "") -> None:
    """``artifacts`` opens the store of the models; ``api_key`` must have the scope admin. Raises DemoFailed."""
    _Story(Conversation(url, page, api_key), page, artifacts).run()


class _Story:
    def __init__(self, conversation: Conversation, page: Page, artifacts: Callable[[], ArtifactStore]) -> None:
        self._conversation = conversation
        self._page = page
        self._artifacts = artifacts

    def run(self) -> None:
        self._page.step("Train a model of iris flowers, on the 150 that come with mldeploy")
        self._train({}, "no options: the model iris, on its own data")
        self._page.step("Predict the species of one flower")
        self._predict_one()
        self._page.step("Predict all 150 flowers with one request")
        self._predict_all()
        self._page.step("Train again on the same flowers: only a better version may serve")
        self._train({}, "the same once more")
        self._page.step("Replace the model: train another estimator, and let it serve in any case")
        self._train(ANOTHER_ESTIMATOR, ", ".join(f"{name}={value}" for name, value in ANOTHER_ESTIMATOR.items()))
        self._predict_one()
        self._page.step("Roll back to the version that served before")
        self._roll_back()
        self._predict_one()
        self._page.step("What there is now")
        self._list_versions()

    def _train(self, options: dict[str, Any], description: str) -> None:
        result = self._conversation.job(description, "/train", options, "training")["result"]
        serves = "serves from now on" if result["promoted"] else "does not serve"
        self._page.line(f"version {result['model']['version']} {serves}: {result['reason']}")

    def _predict_one(self) -> None:
        description = ", ".join(f"{name} {value}" for name, value in FLOWER.items())
        job = self._conversation.job(description, "/predict", FLOWER, "predicting")
        prediction = job["result"]["prediction"]
        if prediction != "setosa":
            raise DemoFailed(f"the prediction is {prediction}, not setosa")
        self._page.line(f"prediction: {prediction}, by version {job['model']['version']}")

    def _predict_all(self) -> None:
        flowers = _flowers()
        job = self._conversation.job(f"{len(flowers)} measurements", "/predict", flowers, "predicting")
        predictions = [each["prediction"] for each in job["result"]["predictions"]]
        counts = ", ".join(f"{count} {species}" for species, count in sorted(Counter(predictions).items()))
        self._page.line(f"predictions: {counts}, by version {job['model']['version']}")
        self._compare(predictions, flowers, job["model"]["version"])

    def _compare(self, predictions: list[Any], flowers: list[dict[str, float]], version: int) -> None:
        """Compares the predictions with those of the stored model, loaded in this process."""
        card = next(card for card in self._cards() if card.version == version)
        stored = artifact.load(self._artifacts(), card)
        direct = stored.predict([[flower[name] for name in card.schema.names] for flower in flowers]).tolist()
        same = sum(ours == theirs for ours, theirs in zip(predictions, direct, strict=True))
        if same != len(flowers):
            raise DemoFailed(f"only {same} of {len(flowers)} predictions equal those of the stored model")
        self._page.line(f"{same} of {len(flowers)} equal those of the model's file, loaded here ({card.artifact.folder})")

    def _roll_back(self) -> None:
        """The response has the alias's moves, the newest first."""
        move = self._conversation.request("POST", "/models/iris/rollback")["moves"][0]
        self._page.line(f"version {move['to_version']} serves again, instead of version {move['from_version']}")

    def _list_versions(self) -> None:
        model = self._model()
        champion = model["aliases"]["champion"]
        rows = []
        for card in _cards(model):
            serves = "serves" if card.version == champion else ""
            rows.append((str(card.version), card.estimator, f"{card.metrics.accuracy:.4f}", card.created_at[:19], serves))
        self._page.table(("version", "estimator", "accuracy", "trained at", ""), rows)

    def _cards(self) -> list[Card]:
        return _cards(self._model())

    def _model(self) -> dict[str, Any]:
        return self._conversation.request("GET", "/models/iris")


def _cards(model: dict[str, Any]) -> list[Card]:
    return [msgspec.convert(card, Card) for card in model["versions"]]


def _flowers() -> list[dict[str, float]]:
    iris = dataset.make(table.read(packaged_csv("iris") or b"", "csv"), "species")
    return [dict(zip(iris.schema.names, row, strict=True)) for row in iris.features.tolist()]
