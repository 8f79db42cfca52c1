"""Models that start threads are not loaded before the fork, and start is never held up by a model."""

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mldeploy import Client
from models.feature import Feature
from models.schema import Schema
from settings import Settings
from tests.missing import missing
from tests.poison import publish, register
from tests.processes import Pieces, until
from tests.threads import Threaded

SCHEMA = Schema((Feature("x", "number", 1.0), Feature("z", "number", 1.0)), "y", task="regression")


@pytest.fixture
def pieces(tmp_path: Path) -> Iterator[Pieces]:
    found = Pieces(Settings().replace(predict_workers=2, predict_limit=5.0), tmp_path / "home")
    try:
        found.redis()
        yield found
    finally:
        found.stop()


def serve(pieces: Pieces, estimators: dict[str, Any]) -> Client:
    """Start a service that has these champions, and a plain one, before its workers start."""
    for name, estimator in estimators.items():
        register(pieces.settings, pieces.ledger, name, 1, estimator, SCHEMA)
    publish(pieces)
    pieces.reconciler()
    pieces.worker()
    pieces.api()
    return Client(pieces.url)


def test_models_that_start_threads_are_loaded_in_each_process(pieces: Pieces) -> None:
    names = ["first", "second", "third"]
    client = serve(pieces, {name: Threaded() for name in names})
    found = {name: client.predict({"x": 4.0, "z": 0.0}, model=name).wait(30)["prediction"] for name in names}
    assert found == dict.fromkeys(names, 8.0)
    log = (pieces.folder / "predict.log").read_text()
    assert all(f"{name} version 1 starts threads" in log for name in names)
    assert "loaded poison version 1 before the fork" in log
    assert not pieces.ledger.redis.keys(pieces.ledger.prefix + "*unloadable*")


@pytest.mark.slow
@pytest.mark.parametrize("package", ["lightgbm", "xgboost"])
def test_gradient_boosting_with_openmp(pieces: Pieces, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        if package == "xgboost":  # its wheel has hundreds of megabytes, so it is not among the requirements of tests
            pytest.skip("needs xgboost")
        missing(package)
    module = importlib.import_module(package)
    rows = np.random.default_rng(0).normal(size=(200, 2))
    kind = module.LGBMRegressor if package == "lightgbm" else module.XGBRegressor
    fitted = [kind(n_estimators=20, random_state=seed).fit(rows, rows[:, 0] * 3) for seed in range(3)]
    client = serve(pieces, {f"m{place}": each for place, each in enumerate(fitted)})
    for place, each in enumerate(fitted):
        sent = [{"x": x, "z": z} for x, z in rows[:5].tolist()]
        made = client.predict(sent, model=f"m{place}").wait(30)["predictions"]
        assert [row["prediction"] for row in made] == pytest.approx(each.predict(rows[:5]).tolist(), abs=1e-12)
    until(client.ready, 20, "the service is ready")
