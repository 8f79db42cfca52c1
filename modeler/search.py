"""Searches for better parameters: successive halving over a small grid, within a time budget.

Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - makes the next import possible
from sklearn.model_selection import HalvingGridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline

from modeler.dataset import Dataset
from modeler.errors import BadTrainingData
from modeler.estimators import ESTIMATOR
from modeler.measures import scorer
from modeler.preprocessing import SEED
from models.input_errors import listed
from models.options import Metric, MetricParams

Grid = Mapping[str, Sequence[Any]]
Report = Callable[[int, int, str], None]  # done, total, stage

FOLDS = 3
FORESTS: Grid = {"max_depth": [None, 8, 16], "min_samples_leaf": [1, 3, 10], "max_features": ["sqrt", 0.5, 1.0]}
TREES: Grid = {"max_depth": [None, 3, 6, 12], "min_samples_leaf": [1, 3, 10, 30]}
BOOSTING: Grid = {"learning_rate": [0.03, 0.1, 0.3], "max_leaf_nodes": [7, 15, 31], "l2_regularization": [0.0, 1.0]}
GRADIENT: Grid = {"learning_rate": [0.03, 0.1, 0.3], "max_depth": [2, 3, 5], "n_estimators": [100, 300]}
NEIGHBORS: Grid = {"n_neighbors": [1, 3, 5, 9, 15, 25], "weights": ["uniform", "distance"]}
KERNEL: Grid = {"C": [0.1, 1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 0.1, 1.0]}
STRENGTH: Grid = {"C": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]}
PENALTY: Grid = {"alpha": [1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0]}
NETWORK: Grid = {"alpha": [1e-5, 1e-3, 0.1], "hidden_layer_sizes": [[50], [100], [50, 50]]}

GRIDS: Mapping[str, Grid] = {
    "RandomForestClassifier": FORESTS,
    "RandomForestRegressor": FORESTS,
    "ExtraTreesClassifier": FORESTS,
    "ExtraTreesRegressor": FORESTS,
    "DecisionTreeClassifier": TREES,
    "DecisionTreeRegressor": TREES,
    "HistGradientBoostingClassifier": BOOSTING,
    "HistGradientBoostingRegressor": BOOSTING,
    "GradientBoostingClassifier": GRADIENT,
    "GradientBoostingRegressor": GRADIENT,
    "KNeighborsClassifier": NEIGHBORS,
    "KNeighborsRegressor": NEIGHBORS,
    "SVC": KERNEL,
    "SVR": KERNEL,
    "LogisticRegression": STRENGTH,
    "LinearSVC": STRENGTH,
    "LinearSVR": STRENGTH,
    "Ridge": PENALTY,
    "RidgeClassifier": PENALTY,
    "Lasso": PENALTY,
    "ElasticNet": {**PENALTY, "l1_ratio": [0.1, 0.5, 0.9]},
    "SGDClassifier": PENALTY,
    "SGDRegressor": PENALTY,
    "MLPClassifier": NETWORK,
    "MLPRegressor": NETWORK,
}


class BudgetOver(Exception):
    """The time budget is used up; it stops scikit-learn's search."""


class Halving(HalvingGridSearchCV):  # type: ignore[misc]
    """Stops at ``until`` (monotonic seconds) with the best candidate so far; the first candidate is always tried."""

    def __init__(
        self, estimator: Any, param_grid: Any, *, until: float = 0.0, report: Report | None = None, **options: Any
    ) -> None:
        super().__init__(estimator, param_grid, **options)
        self.until = until
        self.report = report

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None) -> None:
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}  # scikit-learn 1.8 has none
        total = tried_in_all(len(ParameterGrid(self.param_grid)), self.factor)
        tried = 0

        def rung(candidates: Sequence[Any], cv: Any, more_results: Mapping[str, Sequence[Any]], **_: Any) -> Any:
            """Evaluate one candidate at a time; scikit-learn accumulates the results."""
            nonlocal tried
            results = None
            for place, candidate in enumerate(candidates):
                if tried and time.monotonic() > self.until:
                    raise BudgetOver
                if self.report:
                    self.report(tried, total, "search")
                more = {name: [values[place]] for name, values in more_results.items()}
                results = evaluate_candidates([candidate], cv, more_results=more)
                tried += 1
            return results

        with suppress(BudgetOver):
            super()._run_search(rung, **context)


def tried_in_all(candidates: int, factor: int) -> int:
    """Return how many candidates are tried in all rungs together, if there are enough rows for each rung."""
    tried = candidates
    while candidates > factor:
        candidates = math.ceil(candidates / factor)
        tried += candidates
    return tried


def search(
    estimator: Any,
    name: str,
    fixed: Mapping[str, Any],
    dataset: Dataset,
    metric: Metric,
    params: MetricParams,
    seconds: float,
    report: Report,
) -> dict[str, Any]:
    """Return the best parameters of the grid, without the ``fixed`` ones, by cross-validation on the training rows. It overruns
    ``seconds`` by at most one candidate. Raises BadTrainingData."""
    grid = {param: values for param, values in GRIDS.get(name, {}).items() if param not in fixed}
    if not grid:
        raise BadTrainingData(f"there is nothing to search for {name}; a search knows {listed(sorted(GRIDS))}")
    step = f"{ESTIMATOR}__" if isinstance(estimator, Pipeline) else ""
    in_training = ~dataset.in_test
    halving = Halving(
        estimator,
        {step + param: list(values) for param, values in grid.items()},
        until=time.monotonic() + seconds,
        report=report,
        cv=FOLDS,
        scoring=scorer(metric, params, dataset.schema.task),
        random_state=SEED,
        refit=False,
        n_jobs=1,
        error_score=float("nan"),
    )
    try:
        halving.fit(dataset.features[in_training], dataset.target[in_training])
    except ValueError as error:
        raise BadTrainingData(f"the search finds too few rows, {int(in_training.sum())} ({error}): leave search out") from error
    return {param.removeprefix(step): value for param, value in halving.best_params_.items()}
