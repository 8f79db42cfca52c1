"""Features of type text: read as was said, learned from by their words, and sent to a model as they are."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from modeler import artifact, dataset, estimators, table, train
from modeler.data_warnings import data_warnings
from modeler.dataset import Dataset
from modeler.predictor import Predictor
from modeler.train import Plan
from models.catalog import catalog
from models.feature import MAX_TEXT, Encoded
from models.input_errors import InvalidInput
from models.reading import ReadOptions

RNG = np.random.default_rng(1)
NOUNS = [f"noun{place}" for place in range(200)]
AS_TEXT = ReadOptions(types={"note": "text"})
FAST: Mapping[str, Any] = {"n_estimators": 3, "max_iter": 20}


def complaints(rows: int) -> pd.DataFrame:
    """Notes that nearly all differ, of which one word tells the label; some rows have none."""
    late = RNG.integers(0, 2, rows).astype(bool)
    notes = [" ".join([*RNG.choice(NOUNS, 5), "Delayed" if each else "punctual", *RNG.choice(NOUNS, 5)]) for each in late]
    frame = pd.DataFrame({"note": notes, "kind": RNG.choice(["a", "b"], rows), "x": RNG.normal(size=rows), "late": late})
    frame.loc[::50, "note"] = None
    return frame


def prepared(frame: pd.DataFrame, format_: Any = "csv", **options: Any) -> Dataset:
    body = frame.to_csv(index=False).encode() if format_ == "csv" else frame.to_parquet()
    return dataset.make(table.read(body, format_, options=AS_TEXT), **options)


NOTES = prepared(complaints(400))


def predictor_of(rows: Dataset, name: str, params: Mapping[str, Any] | None = None) -> Predictor:
    return Predictor(rows.schema, estimators.fit(estimators.build(name, params or {}, rows), rows))


def accuracy(name: str) -> float:
    found = predictor_of(NOTES, name, {"max_iter": 20} if "Boosting" in name else {}).labels(NOTES.features[NOTES.in_test])
    return float((found == NOTES.target[NOTES.in_test]).mean())


@pytest.mark.parametrize("name", ["LogisticRegression", "RandomForestClassifier", "HistGradientBoostingClassifier"])
def test_words_tell_the_label(name: str) -> None:
    """By a sparse matrix, and by the topics of one. A row in fifty has no note."""
    assert accuracy(name) > (0.9 if name == "LogisticRegression" else 0.75)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(catalog()))
def test_every_estimator_takes_texts_and_predicts_unknown_words_and_none(name: str) -> None:
    _takes_texts(name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "GaussianNB",
        "QuadraticDiscriminantAnalysis",
        "KNeighborsClassifier",
        "SVC",
        "RidgeClassifier",
        "Ridge",
        "GaussianProcessRegressor",
    ],
)
def test_estimators_of_each_kind_take_texts(name: str) -> None:
    _takes_texts(name)


def _takes_texts(name: str) -> None:
    entry, frame = catalog()[name], complaints(60)
    if entry.task == "regression":
        frame["late"] = RNG.poisson(3, 60) + 1.5
    params = {param: value for param, value in FAST.items() if param in entry.params}
    params |= {"max_iter": 3} if name == "OrthogonalMatchingPursuitCV" else {}  # at most as many as there are columns
    params |= {"radius": 1e6} if name.startswith("RadiusNeighbors") else {}
    predictor = predictor_of(prepared(frame, task=entry.task), name, params)
    assert len(predictor.predict([["никогда не было", 0.0, 0.5], [None, 1.0, 0.1], ["", 0.0, 0.0]])) == 3


def test_notes_without_a_word_can_be_trained_on() -> None:
    frame = complaints(60).assign(note="!?")
    assert len(predictor_of(prepared(frame), "LogisticRegression").predict([["!?", 0.0, 0.5]])) == 1


def test_a_training_tells_how_texts_were_encoded_and_judges_itself() -> None:
    made = train.make(NOTES, Plan("LogisticRegression", {}, 0.0, "accuracy"), 0.0, lambda *_: None)
    assert made.encodings == {"note": "TF-IDF of words", "kind": "one-hot"}
    assert made.importances is not None
    assert made.importances[0].feature == "note"
    assert artifact.dump(made.estimator)


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_texts_are_read_and_stored_as_they_are(format_: str) -> None:
    read = table.read(complaints(50).to_csv(index=False).encode(), "csv", options=AS_TEXT)
    if format_ == "parquet":
        read = table.from_parquet(table.to_parquet(read))
    assert read.types["note"] == "text"
    assert read.frame["note"].isna().sum() == 1
    assert table.concat([read, read]).types == read.types


def test_numbers_that_are_said_to_be_texts_are_texts() -> None:
    frame = complaints(30).assign(note=range(30))
    for format_ in ("csv", "parquet"):
        read = prepared(frame, format_)
        assert [feature.type for feature in read.schema.features] == ["text", "category", "number"]
        assert sorted(read.features[:, 0])[:2] == ["0", "1"]


def test_later_rows_of_a_column_of_texts_are_texts() -> None:
    read = table.read(b"note,y\n12,1\n13,2\n", "csv", known={"note": "text", "y": "integer"})
    assert (read.types["note"], list(read.frame["note"])) == ("text", ["12", "13"])


def test_free_text_is_left_out_unless_it_is_said_to_be_text_and_the_way_is_told() -> None:
    body = complaints(100).to_csv(index=False).encode()
    guessed = dataset.make(table.read(body, "csv"))
    assert guessed.schema.ignored == ("note",)
    assert any("'text'" in each for each in data_warnings(guessed))


# On the wire


def test_a_text_travels_as_it_is() -> None:
    body = msgspec.json.encode([{"note": "Zug\n „spät“", "kind": "a", "x": 1}, {"kind": "b", "note": None, "x": 2.5}])
    measurements = NOTES.schema.check(body, 10)
    rows = NOTES.schema.unpack(measurements.pack())
    assert rows == [["Zug\n „spät“", 0.0, 1.0], [None, 1.0, 2.5]]
    assert NOTES.schema.decode(rows[0]) == {"note": "Zug\n „spät“", "kind": "a", "x": 1.0}
    assert NOTES.schema.decode(rows[1])["note"] is None


@pytest.mark.parametrize(
    ("note", "detail"),
    [
        ("a" * (MAX_TEXT + 1), "text of at most 10,000 characters"),
        (5, "expected text of at most 10,000 characters or null, got"),
    ],
)
def test_other_values_are_refused(note: Any, detail: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        NOTES.schema.check(msgspec.json.encode({"note": note, "kind": "a", "x": 1}), 10)
    (error,) = caught.value.errors
    assert error.pointer == "/note"
    assert detail in error.detail


def test_the_longest_text_is_taken_and_its_result_fits_what_is_reserved() -> None:
    longest = "\u0001" * MAX_TEXT
    row = NOTES.schema.check(msgspec.json.encode({"note": longest, "kind": "a", "x": 1}), 10).rows[0]
    assert len(msgspec.json.encode(NOTES.schema.decode(row))) <= NOTES.schema.result_size.input


def test_the_json_schema_says_how_long_a_text_may_be() -> None:
    found = NOTES.schema.json_schema()["properties"]["note"]
    assert (found["type"], found["maxLength"]) == (["string", "null"], MAX_TEXT)


def test_one_row_is_answered_as_in_company() -> None:
    predictor = predictor_of(NOTES, "LogisticRegression")
    rows: list[list[Encoded]] = [["Delayed again", 0.0, 0.5], [None, 1.0, 0.1], ["punctual", 0.0, 2.0]]
    together = predictor.probabilities(rows)
    for row, expected in zip(rows, together, strict=True):
        assert predictor.probabilities([row])[0] == pytest.approx(expected, abs=1e-12)
