"""Metrics and predictions of an uploaded table equal those of scikit-learn by hand on the same split. By hand means on the
text, booleans and gaps of the same CSV, without our preprocessing."""

import io
import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import requests
from numpy.typing import NDArray
from sklearn import datasets, ensemble
from sklearn import metrics as sk
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mldeploy.client import Client, Problem
from modeler import split, table
from tests.service import Service

EXACTLY = 1e-9
PATIENCE = 120.0
PASSENGERS = "openml/id_40945/data-v1-dl-16826755.arff.gz"
ARFF_HEADER = 17  # lines
PASSENGER_COLUMNS = (
    "pclass", "survived", "name", "sex", "age", "sibsp", "parch", "ticket", "fare", "cabin", "embarked", "boat", "body", "home",
)  # fmt: skip
SAILED = {"S": "1912-04-10", "C": "1912-04-10", "Q": "1912-04-11"}  # from Southampton, Cherbourg and Queenstown
IDS = ("name", "ticket")  # texts that nearly all differ
NUMBERS = ["pclass", "age", "sibsp", "parch", "fare", "alone", "child", "boarded"]
WORDS = ["sex", "cabin", "embarked"]


def named(bunch: Any) -> pd.DataFrame:
    """Return the classes' names for their numbers."""
    frame: pd.DataFrame = bunch.frame.copy()
    return frame.assign(target=np.asarray(bunch.target_names)[frame["target"]])


def passengers() -> pd.DataFrame:
    """Return all 1309 passengers of the Titanic, as scikit-learn ships them for its own tests: text, booleans (one with
    gaps), a date, names and tickets, and gaps."""
    with resources.as_file(resources.files("sklearn.datasets.tests.data") / PASSENGERS) as path:
        frame = pd.read_csv(path, skiprows=ARFF_HEADER, names=list(PASSENGER_COLUMNS), na_values="?")
    child = (frame["age"] < 16).astype(object).where(frame["age"].notna(), None)
    alone, boarded = frame["sibsp"] + frame["parch"] == 0, frame["embarked"].map(SAILED)
    kept = frame.drop(columns=["boat", "body", "home"])
    return kept.assign(survived=frame["survived"] == 1, alone=alone, child=child, boarded=boarded)


FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    "iris": lambda: named(datasets.load_iris(as_frame=True)),
    "wine": lambda: named(datasets.load_wine(as_frame=True)),
    "breast-cancer": lambda: datasets.load_breast_cancer(as_frame=True).frame,
    "diabetes": lambda: datasets.load_diabetes(as_frame=True).frame,
    "passengers": passengers,
}


@cache
def csv(data: str) -> bytes:
    return str(FRAMES[data]().to_csv(index=False)).encode()


def scaled(bare: Any) -> Any:
    return make_pipeline(StandardScaler(), bare)


def mixed(bare: Any, numbers: Any = "passthrough") -> Any:
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(ColumnTransformer([("numbers", numbers, NUMBERS), ("words", words, WORDS)]), bare)


def mixed_imputed(bare: Any) -> Any:
    return mixed(bare, SimpleImputer(strategy="median"))


def mixed_scaled(bare: Any) -> Any:
    return mixed(bare, make_pipeline(SimpleImputer(strategy="median"), StandardScaler()))


class Case(NamedTuple):
    """One case: ``prepared`` adds the preprocessing before the class, ``parameters`` are those of the class."""

    data: str
    cls: Any
    prepared: Callable[[Any], Any] = lambda bare: bare
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def model(self) -> str:
        return f"{self.data}-{self.cls.__name__.lower()}"

    @property
    def target(self) -> str:
        return "survived" if self.data == "passengers" else "target"

    @property
    def takes_categories(self) -> bool:
        return ("categorical_features", "from_dtype") in self.parameters

    def by_hand(self, seed: int) -> Any:
        return self.prepared(self.cls(random_state=seed, **dict(self.parameters)))


LOGISTIC = Case("passengers", LogisticRegression, mixed_scaled, (("max_iter", 1000),))
RIDGE = Case("diabetes", Ridge, scaled)
FOREST = Case("diabetes", ensemble.RandomForestRegressor)
CASES = [
    Case("iris", DecisionTreeClassifier),
    Case("wine", LogisticRegression, scaled, (("max_iter", 1000),)),
    Case("breast-cancer", ensemble.GradientBoostingClassifier),
    Case("breast-cancer", ensemble.RandomForestClassifier),
    RIDGE,
    FOREST,
    LOGISTIC,
    Case("passengers", ensemble.RandomForestClassifier, mixed),
    Case("passengers", ensemble.GradientBoostingClassifier, mixed_imputed),
    Case("passengers", ensemble.HistGradientBoostingClassifier, parameters=(("categorical_features", "from_dtype"),)),
]
OPTIONS: dict[str, Any] = {"target": "survived", "estimator": "LogisticRegression"}


# By hand


def raw(case: Case) -> pd.DataFrame:
    """Read the CSV with pandas."""
    return pd.read_csv(io.BytesIO(csv(case.data)))


def features_of(case: Case, frame: pd.DataFrame) -> pd.DataFrame:
    """Make booleans 0 and 1 and dates seconds since 1970; text stays text."""
    frame = frame.drop(columns=[case.target, *IDS], errors="ignore")
    for name in set(frame.columns) & {"alone", "child"}:
        frame[name] = frame[name].astype(object).map(float, na_action="ignore").astype(float)
    if "boarded" in frame:
        frame["boarded"] = (pd.to_datetime(frame["boarded"]) - pd.Timestamp(0)) / pd.Timedelta(seconds=1)
    return frame.astype(dict.fromkeys(WORDS, "category")) if case.takes_categories else frame


def in_test(case: Case) -> NDArray[np.bool_]:
    """Return the same split."""
    return split.Split(0.2).held_out(table.read(csv(case.data), "csv"), [case.target])


@cache
def fitted(case: Case, seed: int = 0) -> Any:
    frame, learns = raw(case), ~in_test(case)
    return case.by_hand(seed).fit(features_of(case, frame)[learns], frame[case.target][learns])


def judged(model: Any, features: Any, truth: "pd.Series[Any]", w: Any = None) -> dict[str, Any]:
    """Compute scikit-learn's own metrics; ``w``: weights, for numbers only."""
    said, wanted = model.predict(features), truth.to_numpy()
    if not hasattr(model, "predict_proba"):
        return {
            "mae": sk.mean_absolute_error(wanted, said, sample_weight=w),
            "rmse": sk.root_mean_squared_error(wanted, said, sample_weight=w),
            "r2": sk.r2_score(wanted, said, sample_weight=w),
            "mape": sk.mean_absolute_percentage_error(wanted, said, sample_weight=w),
            "median_absolute_error": sk.median_absolute_error(wanted, said, sample_weight=w),
            "pinball": sk.mean_pinball_loss(wanted, said, alpha=0.5, sample_weight=w),
        }
    shares = model.predict_proba(features)
    binary = len(model.classes_) == 2
    each = wanted == model.classes_[1] if binary else wanted[:, None] == model.classes_
    of_each = shares[:, 1] if binary else shares
    top = {"top_k_accuracy": sk.top_k_accuracy_score(wanted, shares, k=3, labels=model.classes_)} if shares.shape[1] > 3 else {}
    return top | {
        "f_beta": sk.f1_score(wanted, said, pos_label=model.classes_[1])
        if binary
        else sk.f1_score(wanted, said, average="macro", zero_division=0),
        "brier": sk.brier_score_loss(each, of_each) if binary else sk.brier_score_loss(wanted, shares, labels=model.classes_),
        "average_precision": sk.average_precision_score(each, of_each),
        "accuracy": sk.accuracy_score(wanted, said),
        "balanced_accuracy": sk.balanced_accuracy_score(wanted, said),
        "f1_macro": sk.f1_score(wanted, said, average="macro", zero_division=0),
        "log_loss": sk.log_loss(wanted, shares, labels=model.classes_),
        "roc_auc": sk.roc_auc_score(wanted, shares[:, 1]) if binary else sk.roc_auc_score(wanted, shares, multi_class="ovr"),
        "confusion_matrix": sk.confusion_matrix(wanted, said, labels=model.classes_).tolist(),
    }


def same(metrics: dict[str, Any], by_hand: dict[str, Any], rows: int) -> None:
    """Check that each metric is there and no other."""
    assert metrics["rows"] == rows
    assert set(metrics) - {"rows", "interval", "classes", "beta", "top_k", "quantile"} == set(by_hand)
    assert metrics.get("confusion_matrix") == by_hand.get("confusion_matrix")
    numbers = {name: value for name, value in by_hand.items() if name != "confusion_matrix"}
    assert {name: metrics[name] for name in numbers} == pytest.approx(numbers, abs=EXACTLY, rel=0)


# As it is served


class Trained(NamedTuple):
    case: Case
    result: dict[str, Any]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.model)
def trained(service: Service, request: pytest.FixtureRequest) -> Trained:
    case: Case = request.param
    job = Client(service.url).train(csv(case.data), model=case.model, target=case.target, estimator=case.cls.__name__)
    return Trained(case, job.wait(PATIENCE))


@pytest.fixture(scope="module")
def aboard(service: Service) -> Any:
    """Train and serve a model of the mixed table. Returns the result of the training."""
    return Client(service.url).train(csv("passengers"), model="aboard", **OPTIONS).wait(PATIENCE)


def rows_of(case: Case) -> list[dict[str, Any]]:
    """Return the rows of the CSV, with null where it has a gap."""
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in raw(case).drop(columns=case.target).to_dict("records")
    ]


def test_each_metric_is_the_one_of_scikit_learn_by_hand(trained: Trained) -> None:
    case, result = trained
    frame, tests = raw(case), in_test(case)
    assert 0.1 < tests.mean() < 0.3
    features, truth = features_of(case, frame), frame[case.target]
    same(result["metrics"], judged(fitted(case), features[tests], truth[tests]), int(tests.sum()))
    dummy = DummyClassifier(strategy="prior") if "accuracy" in result["metrics"] else DummyRegressor()
    dummy.fit(features[~tests], truth[~tests])
    same(result["baseline_metrics"], judged(dummy, features[tests], truth[tests]), int(tests.sum()))
    assert (result["dataset"]["rows"], result["dataset"]["training_rows"]) == (len(frame), int((~tests).sum()))
    assert result["promoted"], result["reason"]


def test_each_row_is_predicted_as_by_hand(trained: Trained, client: Client) -> None:
    case, features = trained.case, features_of(trained.case, raw(trained.case))
    classifies = "accuracy" in trained.result["metrics"]
    job = client.predict(rows_of(case), model=case.model, version=trained.result["model"]["version"], proba=classifies)
    said = job.wait(PATIENCE)["predictions"]
    wanted = fitted(case).predict(features).tolist()
    if not classifies:
        assert [each["prediction"] for each in said] == pytest.approx(wanted, abs=EXACTLY, rel=0)
        return
    assert [each["prediction"] for each in said] == wanted
    shares = np.array([list(each["probabilities"].values()) for each in said])
    assert [name.lower() for name in said[0]["probabilities"]] == [str(label).lower() for label in fitted(case).classes_]
    assert np.abs(shares - fitted(case).predict_proba(features)).max() <= EXACTLY


def test_another_seed_would_be_noticed() -> None:
    frame, tests = raw(FOREST), in_test(FOREST)
    ours, other = (judged(fitted(FOREST, seed), features_of(FOREST, frame)[tests], frame["target"][tests]) for seed in (0, 1))
    assert all(abs(ours[name] - other[name]) > 1000 * EXACTLY for name in ours)


def test_weights_count_in_the_fit_and_in_the_metrics(client: Client) -> None:
    """The column of weights is no feature, and does not change the split."""
    frame, learns = raw(RIDGE), ~in_test(RIDGE)
    weights = pd.Series(np.arange(len(frame)) % 7 + 0.5)
    job = client.train(frame.assign(heavy=weights), model="weighted", target="target", estimator="Ridge", weight="heavy")
    features, truth = features_of(RIDGE, frame), frame["target"]
    ridge = RIDGE.by_hand(0).fit(features[learns], truth[learns], ridge__sample_weight=weights[learns])
    dummy = DummyRegressor().fit(features[learns], truth[learns], sample_weight=weights[learns])
    result = job.wait(PATIENCE)
    w = weights[~learns]
    same(result["metrics"], judged(ridge, features[~learns], truth[~learns], w), len(w))
    same(result["baseline_metrics"], judged(dummy, features[~learns], truth[~learns], w), len(w))


# A table of words, booleans, dates and gaps


def test_mixed_row_is_echoed_as_the_model_received_it(aboard: Any, client: Client) -> None:
    row = next(row for row in rows_of(LOGISTIC) if row["age"] is None and row["cabin"])
    echoed = client.predict(row, model="aboard").wait(PATIENCE)["input"]
    assert echoed == {name: value for name, value in row.items() if name not in IDS}
    assert (echoed["age"], echoed["child"]) == (None, None)
    assert isinstance(echoed["alone"], bool)
    left_out = {name: value for name, value in row.items() if value is not None}
    assert client.predict(left_out, model="aboard").wait(PATIENCE)["input"] == echoed


def test_a_category_that_is_not_known_is_refused_with_its_place(aboard: Any, client: Client) -> None:
    rows = [rows_of(LOGISTIC)[0], {**rows_of(LOGISTIC)[1], "embarked": "Belfast"}]
    with pytest.raises(Problem) as refused:
        client.predict(rows, model="aboard")
    assert (refused.value.status, refused.value.type.split(":")[-1]) == (422, "invalid-input")
    assert refused.value.errors == [{"pointer": "/1/embarked", "detail": "expected one of C, Q, S, got Belfast"}]


def test_unknown_category_is_missing_where_that_was_requested(client: Client) -> None:
    client.train(csv("passengers"), model="aboard-any", unknown="ignore", **OPTIONS).wait(PATIENCE)
    row = {**rows_of(LOGISTIC)[0], "embarked": "Belfast"}
    said = client.predict(row, model="aboard-any", proba=True).wait(PATIENCE)
    by_hand = fitted(LOGISTIC).predict_proba(features_of(LOGISTIC, raw(LOGISTIC).head(1).assign(embarked="Belfast")))
    assert list(said["probabilities"].values()) == pytest.approx(by_hand[0].tolist(), abs=EXACTLY, rel=0)


def test_a_field_too_many_is_refused_and_on_request_dropped(aboard: Any, client: Client) -> None:
    row = {**rows_of(LOGISTIC)[0], "lifeboat": "2"}
    with pytest.raises(Problem) as refused:
        client.predict(row, model="aboard")
    assert refused.value.errors[0]["pointer"] == "/lifeboat"
    dropped = client.predict(row, model="aboard", drop_extra=True).wait(PATIENCE)
    assert dropped == client.predict(rows_of(LOGISTIC)[0], model="aboard").wait(PATIENCE)


def test_schema_has_the_types_of_the_table(aboard: Any, client: Client) -> None:
    schema = client.schema("aboard")
    kinds = {name: about.get("type") for name, about in schema["properties"].items()}
    assert (kinds["sex"], kinds["alone"], kinds["pclass"]) == ("string", "boolean", "number")
    assert (kinds["child"], kinds["age"], kinds["boarded"]) == (["boolean", "null"], ["number", "null"], ["string", "null"])
    assert set(schema["required"]) == {"pclass", "sex", "sibsp", "parch", "alone"}
    assert schema["properties"]["embarked"]["enum"] == ["C", "Q", "S", None]
    assert all(schema["properties"][name] == {} for name in IDS)


def test_json_schema_accepts_each_row_and_no_other(aboard: Any, client: Client) -> None:
    jsonschema: Any = pytest.importorskip("jsonschema")
    schema = client.schema("aboard")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    example = {name: about["examples"][0] for name, about in schema["properties"].items() if "examples" in about}
    assert all(validator.is_valid(row) for row in [example, *rows_of(LOGISTIC)])
    assert client.predict(example, model="aboard").wait(PATIENCE)["input"] == example
    for wrong in ({"embarked": "Belfast"}, {"lifeboat": 2}, {"sex": None}, {"age": "old"}):
        assert not validator.is_valid({**example, **wrong})


# Other forms of the same table


def as_parquet(folder: Path) -> Path:
    """Write Parquet with its own types for dates and categories."""
    frame = raw(LOGISTIC)
    frame = frame.assign(boarded=pd.to_datetime(frame["boarded"]), sex=frame["sex"].astype("category"))
    frame.to_parquet(folder / "table.parquet")
    return folder / "table.parquet"


def as_ndjson(folder: Path) -> Path:
    answers = raw(LOGISTIC)["survived"].tolist()
    lines = [json.dumps({**row, "survived": answer}) for row, answer in zip(rows_of(LOGISTIC), answers, strict=True)]
    (folder / "table.ndjson").write_text("\n".join(lines) + "\n")
    return folder / "table.ndjson"


@pytest.mark.parametrize("form", [as_parquet, as_ndjson])
def test_the_same_table_in_another_form_gives_the_same_model(
    aboard: Any, client: Client, tmp_path: Path, form: Callable[[Path], Path]
) -> None:
    result = client.train(form(tmp_path), model=form.__name__.replace("_", "-"), **OPTIONS).wait(PATIENCE)
    alike(result, aboard)


def test_the_same_table_as_a_form_gives_the_same_model(aboard: Any, service: Service, client: Client) -> None:
    files = {"table": ("passengers.csv", csv("passengers"), "text/csv")}
    answer = requests.post(f"{service.url}/train", data={"model": "as-form", **OPTIONS}, files=files, timeout=30)
    assert answer.status_code == 202, answer.text
    alike(client.result(answer.json()["id"]).wait(PATIENCE), aboard)


def alike(result: dict[str, Any], other: dict[str, Any]) -> None:
    assert result["dataset"]["sha256"] == other["dataset"]["sha256"]
    assert result["dataset"]["training_rows"] == other["dataset"]["training_rows"]
    assert result["metrics"] == other["metrics"]
