"""An estimator that takes memory while it fits, until the kernel ends its process."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

BITE = 20_000_000  # bytes
MOST = 4_000_000_000  # bytes: where nobody stops it, it stops itself, so that a broken test takes no machine with it


class Glutton(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, features: NDArray[np.float64], target: NDArray[Any]) -> "Glutton":
        eaten: list[NDArray[Any]] = [features, target]
        for _ in range(MOST // BITE):
            eaten.append(np.ones(BITE, dtype=np.uint8))
        raise ValueError("nobody has stopped the training")
