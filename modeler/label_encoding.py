"""A classifier for estimators outside of scikit-learn, some of which take only classes that are numbered from 0."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin


class LabelEncodedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fits ``estimator`` on the places of the classes in ``classes_``, and predicts the classes themselves."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, features: Any, target: Any, **options: Any) -> Self:
        """``features``: (rows, features); ``target``: (rows,) of any sortable type; ``options`` are passed on."""
        self.classes_, places = np.unique(target, return_inverse=True)
        weights = getattr(self.estimator, "class_weight", None)
        if not isinstance(weights, dict):
            self.estimator.fit(features, places, **options)
            return self
        known: list[Any] = self.classes_.tolist()
        by_place = {known.index(label): weight for label, weight in weights.items() if label in known}
        try:
            self.estimator.set_params(class_weight=by_place).fit(features, places, **options)
        finally:
            self.estimator.set_params(class_weight=weights)  # a clone is fitted anew, perhaps with fewer classes
        return self

    def predict(self, features: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.classes_[np.asarray(self.estimator.predict(features)).ravel().astype(np.int64)]
        return found

    def __getattr__(self, name: str) -> Any:
        """``predict_proba`` and the like, if the estimator has them."""
        if name.startswith("__") or "estimator" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.estimator, name)
