"""A model that starts a thread when it is unpickled, as LightGBM's and XGBoost's start their OpenMP pools."""

import queue
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator


class _Pool:
    """One thread per process, as OpenMP's pool. A fork copies it without the thread, and then its work is never done."""

    def __init__(self) -> None:
        self._work: queue.Queue[tuple[float, queue.Queue[float]]] = queue.Queue()
        threading.Thread(target=self._run, daemon=True).start()

    def doubled(self, number: float) -> float:
        answer: queue.Queue[float] = queue.Queue()
        self._work.put((number, answer))
        return answer.get()

    def _run(self) -> None:
        while True:
            number, answer = self._work.get()
            answer.put(number * 2)


_pools: list[_Pool] = []


class Threaded(BaseEstimator):  # type: ignore[misc]
    """Doubles the first feature, in the pool's thread; unpickling needs the pool too."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not _pools:
            _pools.append(_Pool())
        _pools[0].doubled(1.0)
        super().__setstate__(state)

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([_pools[0].doubled(float(row[0])) for row in rows])
