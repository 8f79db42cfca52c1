"""Estimators, evaluation, artifacts and the promotion gate."""

import importlib.metadata
import random
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from modeler import artifact, dataset, estimators, evaluate, intervals, table, train
from modeler.artifact import ArtifactStore, CorruptArtifact, UnloadableHere
from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.predictor import ModelCache, NotFinite, Predictor, load
from models import gate
from models.card import Card, Interval, Metrics
from models.catalog import catalog
from models.gate import Comparison
from models.options import TrainOptions
from models.packaged import packaged_csv
from models.store import FolderStore

IRIS = dataset.make(table.read(packaged_csv("iris") or b"", "csv"))
KEY = b"a key"
SOME = TrainOptions(model="iris", estimator="DecisionTreeClassifier")


def shelf_at(folder: Path, key: bytes = KEY) -> ArtifactStore:
    return ArtifactStore(FolderStore(folder), key)


def fitted(options: TrainOptions = SOME, rows: Dataset = IRIS, champion: Card | None = None) -> train.Made:
    return train.make(rows, train.plan(options, champion, rows), 0.0, lambda *_: None)


def make(folder: Path, version: int = 1, attempt: int = 1, options: TrainOptions = SOME, rows: Dataset = IRIS) -> Card:
    made = fitted(options, rows)
    place = f"{options.model}/{version}-{attempt}"
    return train.save(made, shelf_at(folder), options.model, version, "job", place, train.data_of(rows, "iris", ()))


def mixed(rows: int = 240) -> Dataset:
    """Return numbers with gaps and below 0, text with gaps, booleans and dates, and a target of either task."""
    chance = random.Random(0)
    lines = [
        f"{chance.gauss(0, 1) if n % 7 else ''},{n % 5 - 2},{'true' if n % 3 else 'false'},{chance.choice(['red', 'blue', ''])},"
        f"2024-0{n % 9 + 1}-01,{1 + n % 13 / 13 + chance.random()},{'yes' if n % 3 else 'no'}\n"
        for n in range(rows)
    ]
    return dataset.make(table.read(("n,i,b,c,d,q,y\n" + "".join(lines)).encode(), "csv"), "y")


MIXED = mixed()


@pytest.mark.filterwarnings("ignore")  # warnings of estimators about so small a table
@pytest.mark.parametrize("name", sorted(catalog()))
def test_every_estimator_of_the_catalog_takes_a_mixed_table(name: str) -> None:
    rows = MIXED if catalog()[name].task == "classification" else dataset.make(MIXED.table, "q", task="regression")
    params: dict[str, Any] = {"reg_param": 0.1} if name == "QuadraticDiscriminantAnalysis" else {}
    estimator = estimators.fit(estimators.build(name, params, rows), rows)
    said = Predictor(rows.schema, estimator).labels(rows.features[rows.in_test])
    assert said.shape == (rows.in_test.sum(),)
    assert set(catalog()[name].params) <= set(estimators._class(name, "")().get_params(deep=False))


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("Oracle", {}, "no estimator Oracle"),
        ("os.system", {}, "no estimator os.system"),
        ("Ridge", {}, "is not for classification"),
        ("RandomForestClassifier", {"n_estimator": 3}, "did you mean n_estimators"),
    ],
)
def test_unknown_estimator_error_lists_the_known_ones(name: str, params: dict[str, Any], says: str) -> None:
    with pytest.raises(BadTrainingData, match=says):
        estimators.build(name, params, IRIS)


def test_the_operator_can_allow_more_classes() -> None:
    setting = "sklearn.naive_bayes.MultinomialNB, nowhere.Nothing"
    for name in ("MultinomialNB", "sklearn.naive_bayes.MultinomialNB"):
        assert estimators.fit(estimators.build(name, {"alpha": 2.0}, IRIS, setting), IRIS)
    with pytest.raises(BadTrainingData, match="cannot be imported here"):
        estimators.build("Nothing", {}, IRIS, setting)


def test_auto_picks_by_size_and_task() -> None:
    assert estimators.pick(IRIS) == "RandomForestClassifier"
    many = mixed(3000)
    assert estimators.pick(many) == "HistGradientBoostingClassifier"
    assert estimators.pick(dataset.make(many.table, "q", task="regression")) == "HistGradientBoostingRegressor"


def test_weights_are_used_and_refused_where_they_cannot_be() -> None:
    csv = "a,w,y\n" + "".join(f"{n % 40},{100 if n % 2 else 0.01},{n % 2}\n" for n in range(400))
    rows = dataset.make(table.read(csv.encode(), "csv"), weight="w")
    heavy = estimators.fit(estimators.build("LogisticRegression", {}, rows), rows)
    assert (heavy.predict(rows.features) == 1).all()
    with pytest.raises(BadTrainingData, match="takes no sample weights"):
        estimators.fit(estimators.build("KNeighborsClassifier", {}, rows), rows)


def test_a_search_finds_parameters_within_its_time() -> None:
    steps: list[tuple[int, int, str]] = []
    planned = train.plan(TrainOptions(model="m", estimator="DecisionTreeClassifier", search=60), None, MIXED)
    made = train.make(MIXED, planned, 0.0, lambda *step: steps.append(step))
    assert made.found is not None
    assert set(made.found) == {"max_depth", "min_samples_leaf"}
    assert made.params == made.found
    assert [stage for _, _, stage in steps if stage != "search"] == ["fit", "judge"]
    assert steps[0][0] == 0
    assert all(done <= total for done, total, _ in steps)
    hurried = train.plan(TrainOptions(model="m", estimator="DecisionTreeClassifier", search=1e-9), None, MIXED)
    steps.clear()
    assert train.make(MIXED, hurried, 0.0, lambda *step: steps.append(step)).found
    assert sum(stage == "search" for _, _, stage in steps) == 1


def test_a_trained_version_predicts_as_its_estimator_does(tmp_path: Path) -> None:
    card = make(tmp_path)
    rows = IRIS.features.tolist()
    said = ModelCache(shelf_at(tmp_path), 10**9).get(card).predict(rows)
    assert said == artifact.load(shelf_at(tmp_path), card).predict(np.asarray(rows)).tolist()


# Artifacts


@pytest.mark.parametrize("harm", ["truncated", "flipped", "swapped", "gone", "manifest", "resigned", "moved"])
def test_an_altered_artifact_is_refused_before_it_is_unpickled(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, other = make(tmp_path), make(tmp_path, 2, options=TrainOptions(model="iris", estimator="GaussianNB"))
    folder, others = tmp_path / card.artifact.folder, tmp_path / other.artifact.folder
    model, manifest = (folder / artifact.MODEL).read_bytes(), (folder / artifact.MANIFEST).read_bytes()
    if harm == "gone":
        (folder / artifact.MODEL).unlink()
    elif harm == "manifest":
        (folder / artifact.MANIFEST).write_bytes(manifest.replace(b'"version":1', b'"version":3'))
    elif harm == "resigned":
        artifact.write(shelf_at(tmp_path / "elsewhere", b"another key"), card, model)
        (folder / artifact.MANIFEST).write_bytes((tmp_path / "elsewhere" / card.artifact.folder / artifact.MANIFEST).read_bytes())
    elif harm == "moved":
        for name in (artifact.MODEL, artifact.MANIFEST):
            (folder / name).write_bytes((others / name).read_bytes())
    else:
        swapped = (others / artifact.MODEL).read_bytes()
        harmed = {"truncated": model[:-1], "flipped": bytes([model[0] ^ 1]) + model[1:], "swapped": swapped}
        (folder / artifact.MODEL).write_bytes(harmed[harm])
    monkeypatch.setattr(joblib, "load", lambda _: pytest.fail("unpickled"))
    with pytest.raises(CorruptArtifact):
        artifact.load(shelf_at(tmp_path), card)


def test_an_altered_card_is_not_read_back(tmp_path: Path) -> None:
    card = make(tmp_path)
    file = tmp_path / card.artifact.folder / artifact.CARD
    assert artifact.read_card(shelf_at(tmp_path), card.artifact.folder) == card
    file.write_bytes(file.read_bytes().replace(card.estimator.encode(), b"GaussianNB"))
    with pytest.raises(CorruptArtifact, match="its card is not the one that was published"):
        artifact.read_card(shelf_at(tmp_path), card.artifact.folder)


def test_foreign_signature_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match=r"restore the signing\.key"):
        artifact.load(shelf_at(tmp_path, b"another key"), make(tmp_path))


def test_another_minor_version_of_scikit_learn_is_refused_with_advice(tmp_path: Path) -> None:
    card = msgspec.structs.replace(make(tmp_path), libraries={"scikit-learn": "0.24.1"})
    with pytest.raises(UnloadableHere, match=r"run a worker with 0\.24\.1, or `mldeploy models refit`"):
        artifact.load(shelf_at(tmp_path), card)


def test_a_card_that_names_a_place_outside_the_store_is_refused(tmp_path: Path) -> None:
    card = make(tmp_path / "store")
    outside = msgspec.structs.replace(card, artifact=msgspec.structs.replace(card.artifact, folder="../elsewhere"))
    with pytest.raises(CorruptArtifact, match="outside the store"):
        artifact.load(shelf_at(tmp_path / "store"), outside)


def test_a_version_carries_its_card(tmp_path: Path) -> None:
    card = make(tmp_path)
    written = msgspec.json.decode((tmp_path / card.artifact.folder / artifact.CARD).read_bytes(), type=Card)
    assert written == card
    assert card.libraries["scikit-learn"] == importlib.metadata.version("scikit-learn")
    assert card.data.training_rows + card.metrics.rows == card.data.rows == 150
    assert card.data.fitted_on_test_rows is False


def test_loaded_models_go_by_bytes_the_least_recently_used_first(tmp_path: Path) -> None:
    cards = [make(tmp_path, version) for version in (1, 2, 3)]
    loaded = ModelCache(shelf_at(tmp_path), 2 * cards[0].artifact.bytes)
    for card in (cards[0], cards[1], cards[0], cards[2]):
        loaded.get(card)
    assert [card in loaded for card in cards] == [True, False, True]
    tiny = ModelCache(shelf_at(tmp_path), 1)
    tiny.get(cards[0])
    assert cards[0] in tiny  # never the last one


# Evaluation


def test_a_forest_predicts_on_one_thread() -> None:
    forest = RandomForestClassifier(n_estimators=3, n_jobs=4).fit(IRIS.features, IRIS.target)
    Predictor(IRIS.schema, forest)
    assert forest.n_jobs == 1


def test_a_prediction_that_is_no_number_is_an_error() -> None:
    class Broken:
        def predict(self, rows: Any) -> Any:
            return np.full(len(rows), np.nan)

    with pytest.raises(NotFinite):
        Predictor(IRIS.schema, Broken()).predict([[1, 2, 3, 4]])


def test_a_champion_is_judged_by_name_whatever_the_order_of_columns(tmp_path: Path) -> None:
    lines = [line.split(",") for line in (packaged_csv("iris") or b"").decode().splitlines()]
    permuted = table.read("\n".join(",".join([c, a, d, b, y]) for a, b, c, d, y in lines).encode(), "csv")
    champion = make(tmp_path)
    comparison = train.compare_with_champion(fitted(rows=dataset.make(permuted)), champion, shelf_at(tmp_path))
    assert comparison.theirs == champion.metrics


def test_both_are_judged_on_rows_that_neither_was_trained_on(tmp_path: Path) -> None:
    champion = make(tmp_path)  # at a fifth
    rows = dataset.make(IRIS.table, test_share=0.4)
    comparison = train.compare_with_champion(fitted(rows=rows), champion, shelf_at(tmp_path))
    assert rows.in_test.sum() > IRIS.in_test.sum()
    assert comparison.ours is not None
    assert comparison.ours.rows == IRIS.in_test.sum()


def test_rows_in_service_that_the_champion_learned_are_no_test_rows(tmp_path: Path) -> None:
    def rows(first: int, last: int) -> Dataset:
        lines = "".join(f"{n % 29},note {n},{n % 31},{'up' if n % 29 > 14 else 'down'}\n" for n in range(first, last))
        return dataset.make(table.read(("a,note,b,y\n" + lines).encode(), "csv"))

    known, sent = rows(0, 400), rows(400, 800)
    assert sent.schema.ignored == ("note",)
    champion = make(tmp_path, options=TrainOptions(model="m"), rows=known)
    bench = train._comparison_rows(sent, known.split, known.table)
    learned = {tuple(row) for row in known.table.frame[~known.in_test].to_numpy().tolist()}
    assert not learned & {tuple(row) for row in bench.table.frame.to_numpy().tolist()}
    assert bench.known.sum() == known.in_test.sum()
    assert train.compare_with_champion(
        fitted(TrainOptions(model="m"), sent), champion, shelf_at(tmp_path), lambda: known.table
    ).ours


def test_nonfinite_metric_is_left_out_and_promotes_nothing(tmp_path: Path) -> None:
    lines = "".join(f"{n},{n * 1e200 if n % 3 else n}\n" for n in range(1, 200))
    rows = dataset.make(table.read(("a,y\n" + lines).encode(), "csv"))
    card = make(tmp_path, options=TrainOptions(model="m", estimator="DummyRegressor"), rows=rows)
    assert (card.metrics.rmse, card.metrics.interval) == (None, None)
    assert not gate.decide(TrainOptions(model="m"), "rmse", Comparison(1, card.metrics, card.metrics, None)).promoted


def test_repeated_search_starts_from_the_requested_parameters(tmp_path: Path) -> None:
    searched = TrainOptions(model="m", estimator="DecisionTreeClassifier", params={"criterion": "entropy"}, search=60)
    champion = make(tmp_path, options=searched, rows=MIXED)
    again = train.plan(TrainOptions(model="m", search=60), champion, MIXED)
    assert again.params == {"criterion": "entropy"}
    assert train.plan(TrainOptions(model="m"), champion, MIXED).params == champion.params


def test_a_retraining_keeps_the_champions_estimator_and_parameters(tmp_path: Path) -> None:
    champion = make(tmp_path, options=TrainOptions(model="iris", estimator="GaussianNB", params={"var_smoothing": 0.1}))
    again = fitted(TrainOptions(model="iris"), champion=champion)
    assert (again.name, again.params) == ("GaussianNB", {"var_smoothing": 0.1})
    other = fitted(TrainOptions(model="iris", estimator="GaussianNB", params={"var_smoothing": 0.2}), champion=champion)
    assert other.params == {"var_smoothing": 0.2}


def test_intervals_hold_their_metric_and_its_improvement(tmp_path: Path) -> None:
    made = fitted()
    for metric in ("accuracy", "f1_macro", "balanced_accuracy"):
        found = evaluate.metrics(made.evaluation, metric)
        assert found.interval is not None
        assert found.interval.low <= (found.value(metric) or 0) <= found.interval.high
    better = intervals.improvement("accuracy", made.evaluation, made.baseline, 0.9)
    assert better is not None
    assert 0 < better.low < better.high
    worse = intervals.improvement("accuracy", made.baseline, made.evaluation, 0.9)
    assert worse is not None
    assert worse.low == -better.high


# The gate


def comparison(ours: float, theirs: float | None, version: int | None = 1, low: float = 0.0) -> Comparison:
    interval = Interval("accuracy", low, 1.0, 0.95)
    return Comparison(version, Metrics(30, ours), Metrics(30, theirs) if theirs is not None else None, interval)


@pytest.mark.parametrize(
    ("options", "against", "promoted", "says"),
    [
        ({}, comparison(0.9, 0.8), True, "accuracy 0.9000 against 0.8000 of version 1"),
        ({}, comparison(0.9, 0.9), False, "a tie keeps the champion"),
        ({}, comparison(0.9, 0.9 + 1e-15), False, "a tie keeps the champion"),
        ({}, comparison(0.8, 0.9), False, "0.8000 against 0.9000"),
        ({}, comparison(0.9, 0.8, None), True, "baseline"),
        ({}, comparison(0.8, 0.8, None), False, "the first version must beat the baseline"),
        ({}, comparison(0.7, 0.8, None), False, "the first version must beat the baseline"),
        ({}, comparison(0.9, None), False, "cannot be judged"),
        ({"promote": "always"}, comparison(0.1, 0.9), True, "promote=always"),
        ({"promote": "always"}, comparison(0.9, None), True, "promote=always"),
        ({"promote": "never"}, comparison(0.9, 0.1), False, "promote=never"),
        ({"min_improvement": 0.05}, comparison(0.84, 0.8), False, "more than 0.05"),
        ({"min_improvement": 0.05}, comparison(0.9, 0.8), True, "0.9000"),
        ({"confidence": 0.95}, comparison(0.9, 0.8, low=-0.01), False, "as low as -0.0100"),
        ({"confidence": 0.95}, comparison(0.9, 0.8, low=0.02), True, "0.9000"),
    ],
)
def test_the_gate(options: dict[str, Any], against: Comparison, promoted: bool, says: str) -> None:
    verdict = gate.decide(TrainOptions(model="m", **options), "accuracy", against)
    assert verdict.promoted is promoted, verdict
    assert says in verdict.reason


def test_of_errors_the_smaller_is_better() -> None:
    smaller = Comparison(1, Metrics(30, rmse=1.0), Metrics(30, rmse=2.0), None)
    assert gate.decide(TrainOptions(model="m"), "rmse", smaller).promoted
    larger = Comparison(1, Metrics(30, rmse=2.0), Metrics(30, rmse=1.0), None)
    assert not gate.decide(TrainOptions(model="m"), "rmse", larger).promoted


def test_undefined_metric_promotes_nothing() -> None:
    assert not gate.decide(TrainOptions(model="m"), "log_loss", comparison(0.9, 0.1)).promoted


def test_predictors_of_a_store_are_those_of_its_cards(tmp_path: Path) -> None:
    rows = MIXED
    card = make(tmp_path, options=TrainOptions(model="mixed"), rows=rows)
    said = load(shelf_at(tmp_path), card).labels(rows.features)
    assert (said == fitted(TrainOptions(model="mixed"), rows).predictor.labels(rows.features)).all()
