"""The estimators that can be trained, by scikit-learn's names (see options.Estimator)."""

from collections.abc import Callable
from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

SEED = 0

ESTIMATORS: dict[str, Callable[[], Any]] = {
    "DecisionTreeClassifier": lambda: DecisionTreeClassifier(random_state=SEED),
    "GaussianNB": GaussianNB,
    "KNeighborsClassifier": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()),
    "LogisticRegression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "RandomForestClassifier": lambda: RandomForestClassifier(random_state=SEED),
}
