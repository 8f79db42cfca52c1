"""An estimator that allocates memory while it fits, until the kernel kills its process."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

BITE = 20_000_000  # bytes
MOST = 4_000_000_000  # bytes: it stops by itself if nothing kills it, so that a broken test does not take the machine down


class Glutton(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, features: NDArray[np.float64], target: NDArray[Any]) -> "Glutton":
        eaten: list[NDArray[Any]] = [features, target]
        for _ in range(MOST // BITE):
            eaten.append(np.ones(BITE, dtype=np.uint8))
        raise ValueError("nobody has stopped the training")
