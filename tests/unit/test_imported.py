"""An imported model answers as it does at home: one row alone and in company get what the estimator says of the owner's frame."""

import json
from io import BytesIO
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from api.inputs import tabular
from modeler.errors import BadTrainingData
from modeler.import_model import CannotImport, ImportedModel, import_model, predictor_of
from modeler.predictor import Predictor

SAMPLE = pd.DataFrame(
    {
        "zip": [2138, 10115, 94110, 2138, 10115, 94110, 2138, 10115, 94110, 2138, 10115, 94110],
        "x": [0.5, np.nan, 2.5, 1.0, 0.0, 3.0, 0.25, 1.5, np.nan, 2.0, 4.0, 1.0],
        "when": ["2024-01-05", "unknown", "5.3.2024"] * 4,
        "old": [True, False, True, True, False, False] * 2,
        "y": ["a", "b", "c"] * 4,
    }
)
FEATURES = ["zip", "x", "when", "old"]


def as_texts(frame: Any) -> Any:
    return frame.astype(str)


def pipeline() -> Any:
    """Return one whose answers depend on dtypes: "2138" is not "2138.0"."""
    texts = make_pipeline(FunctionTransformer(as_texts), OneHotEncoder(handle_unknown="ignore"))
    steps = [("texts", texts, ["zip", "when", "old"]), ("numbers", SimpleImputer(), ["x"])]
    return make_pipeline(ColumnTransformer(steps), LogisticRegression(C=100)).fit(SAMPLE[FEATURES], SAMPLE.y)


def brought(estimator: Any, sample: pd.DataFrame, target: str = "") -> tuple[ImportedModel, Predictor]:
    content = BytesIO()
    joblib.dump(estimator, content)
    found = import_model(content.getvalue(), "m", sample, target)
    return found, Predictor(found.card.schema, estimator, found.card.takes)


ESTIMATOR = pipeline()
IMPORTED, PREDICTOR = brought(ESTIMATOR, SAMPLE, "y")
ROWS = st.fixed_dictionaries(
    {
        "zip": st.sampled_from([2138, 10115, 94110, 7]) | st.none(),
        "x": st.floats(-1e6, 1e6) | st.none(),
        "when": st.sampled_from(["2024-01-05", "unknown", "5.3.2024", "never seen"]) | st.none(),
        "old": st.booleans() | st.none(),
    }
)


def at_home(row: dict[str, Any]) -> pd.DataFrame:
    """Return the owner's frame of one row."""
    frame = pd.DataFrame({name: [np.nan if value is None else value] for name, value in row.items()})
    return frame.astype({"x": "float64", "when": "str"})


def check_row(row: dict[str, Any], label: Any, probabilities: dict[str, float]) -> None:
    frame = at_home(row)
    assert label == ESTIMATOR.predict(frame)[0]
    np.testing.assert_allclose(list(probabilities.values()), ESTIMATOR.predict_proba(frame)[0], rtol=0, atol=1e-12)


def check_company(rows: list[dict[str, Any]]) -> None:
    schema = IMPORTED.card.schema
    ways = [schema.check(json.dumps(rows).encode(), 100)]
    csv = pd.DataFrame(rows, dtype=object, columns=FEATURES).to_csv(index=False)
    ways.append(tabular.from_csv(csv.encode(), schema, 100).check(schema, 100, False))
    ways.append(tabular.from_parquet({name: [row[name] for row in rows] for name in FEATURES}, schema).check(schema, 100, False))
    alone = [schema.check(json.dumps(row).encode(), 1) for row in rows]
    for way in [*ways, *alone]:
        values = schema.unpack(way.pack())
        found = zip(PREDICTOR.predict(values), PREDICTOR.probabilities(values), strict=True)
        asked = rows if way in ways else [rows[alone.index(way)]]
        for row, (label, probabilities) in zip(asked, found, strict=True):
            check_row(row, label, probabilities)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_company_changes_nothing(rows: list[dict[str, Any]]) -> None:
    check_company(rows)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_company_changes_nothing_in_200_cases(rows: list[dict[str, Any]]) -> None:
    check_company(rows)


def test_twelve_rows_will_do_and_are_judged() -> None:
    assert IMPORTED.card.metrics.rows == 12
    assert IMPORTED.card.metrics.accuracy == 1.0
    assert [feature.dtype for feature in IMPORTED.card.schema.features] == ["int64", "float64", "str", "bool"]
    assert "enum" not in str(IMPORTED.card.schema.json_schema())


def test_one_row_without_a_target_will_do_and_is_not_judged() -> None:
    found, predictor = brought(ESTIMATOR, SAMPLE[FEATURES][:1])
    assert found.card.metrics.rows == 0
    assert found.card.schema.classes == ("a", "b", "c")
    assert predictor.predict([[2138, 0.5, "2024-01-05", True]]) == ["a"]


def test_datetimes_and_categoricals_come_as_they_were() -> None:
    days = pd.to_datetime(["2024-01-05", "2024-06-05"] * 6)
    sample = pd.DataFrame({"day": days, "c": pd.Categorical(["u", "v"] * 6), "y": [1.0, 6.0] * 6})
    month = FunctionTransformer(lambda frame: pd.DataFrame({"m": frame.day.dt.month, "c": frame.c.cat.codes}))
    estimator = make_pipeline(month, LinearRegression()).fit(sample[["day", "c"]], sample.y)
    predictor = predictor_of(estimator, sample[["day", "c"]], "y", sample.y)[1]
    schema = predictor.schema
    assert [feature.dtype for feature in schema.features] == [str(days.dtype), "category"]
    assert predictor.predict([["2024-06-30T10:00:00", "v"]]) == pytest.approx([6.0])
    assert not schema.features[1].invalid_reason("u")
    assert "expected one of u, v" in schema.features[1].invalid_reason("w")


def test_a_text_pipeline_gets_its_column() -> None:
    sample = pd.DataFrame({"note": ["good day", "bad night", "good sun", "bad rain"], "y": [1, 0, 1, 0]})
    found, predictor = brought(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(sample.note, sample.y), sample, "y")
    assert found.card.takes == "series"
    assert predictor.predict([["good " * 100], ["bad"]]) == [1, 0]


@pytest.mark.parametrize(
    ("estimator", "classes"), [(KMeans(3, random_state=0), (0, 1, 2)), (IsolationForest(random_state=0), (-1, 1))]
)
def test_clusters_and_outliers_need_no_target(estimator: Any, classes: tuple[int, ...]) -> None:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 2)), columns=["p", "q"])
    found, predictor = brought(estimator.fit(rows), rows)
    assert (found.card.schema.classes, found.card.metrics.rows) == (classes, 0)
    assert predictor.predict(rows.to_numpy().tolist()) == estimator.predict(rows).tolist()


def test_several_targets_are_one_sentence() -> None:
    rows = pd.DataFrame({"p": [1.0, 2.0, 3.0], "q": [0.0, 1.0, 0.0]})
    estimator = LinearRegression().fit(rows, np.ones((3, 2)))
    with pytest.raises(CannotImport, match="2 targets at once"):
        brought(estimator, rows)


def test_a_sample_without_the_target_is_a_sentence() -> None:
    with pytest.raises(CannotImport, match="the sample has no column 'z'; it has zip, x"):
        brought(ESTIMATOR, SAMPLE, "z")


def test_what_cannot_be_sent_is_a_sentence() -> None:
    sample = SAMPLE.assign(when=pd.Series([[1]] * 12, dtype=object))
    with pytest.raises((CannotImport, BadTrainingData), match="no texts"):
        brought(ESTIMATOR, sample, "y")
