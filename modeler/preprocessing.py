"""The scikit-learn preprocessing between a data set's matrix and an estimator, by the columns' types.

Categories are one-hot or, where there are many, the mean of the target, cross-fitted on the training rows (Micci-Barreca, A
preprocessing scheme for high-cardinality categorical attributes, 2001; scikit-learn's TargetEncoder). Dates are counted from the
column's own start, in its own range: many estimators compute in float32, which keeps seconds since 1970 only to 128 s. Texts
become TF-IDF of their words and pairs of words, and for estimators that take no sparse matrix the main topics of these
(Deerwester et al., Indexing by Latent Semantic Analysis, 1990). Words are hashed, so a model's size does not depend on how many
there are, and a text of unknown words, or of none, is one like others.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RANSACRegressor
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler, TargetEncoder

from modeler.dataset import Dataset

MAX_ONE_HOT = 255  # categories; boosting takes as many as they are
FOLDS = 5
WORDS_HASHED = 2**14
MAX_TOPICS = 50
ROWS_OF_A_TOPIC = 10
SEED = 0
UNSCALED = ("ensemble", "tree", "naive_bayes", "dummy")  # modules whose estimators do not depend on the features' scale
BOOSTING = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)

ONE_HOT, NATIVE, TARGET_MEAN = "one-hot", "as categories", "mean of the target"
WORDS = "TF-IDF of words"


class Places(NamedTuple):
    """The places of the features in the matrix, by what becomes of them."""

    few: list[int]
    many: list[int]
    numbers: list[int]
    dates: list[int]
    texts: list[int]


def preprocessing(bare: Any, dataset: Dataset) -> Any:
    """Return a transformer, or None if the estimator accepts the matrix as it is. It tells boosting which columns are
    categories."""
    places = _places(bare, dataset)
    if isinstance(bare, BOOSTING):
        return _for_boosting(bare, dataset, places)
    numbers = _scaled(bare, _imputed(bare, dataset, places.numbers))
    if not (places.few or places.many or places.texts or (places.dates and _is_unscaled(bare))):
        return _joined(_scaled(bare, _imputed(bare, dataset, places.numbers + places.dates)))
    dates = [*_imputed(bare, dataset, places.dates), MinMaxScaler(clip=True) if _is_unscaled(bare) else StandardScaler()]
    steps = (
        ("numbers", _joined(numbers) or "passthrough", places.numbers),
        ("dates", _joined(dates), places.dates),
        ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), places.few),
        ("many categories", _joined(_scaled(bare, [_target_encoder(dataset)])), places.many),
    )
    kept = [step for step in steps if step[2]]
    sparse = bool(places.texts) and _takes_sparse(bare)
    return ColumnTransformer([*kept, *_of_texts(dataset, places, sparse)], sparse_threshold=1.0 if sparse else 0.0)


def encodings(bare: Any, dataset: Dataset) -> dict[str, str]:
    """Return how the categories or texts of each column reach the estimator."""
    names, places = dataset.schema.names, _places(bare, dataset)
    few = NATIVE if isinstance(bare, BOOSTING) else ONE_HOT
    found = dict.fromkeys(places.few, few) | dict.fromkeys(places.many, TARGET_MEAN) | dict.fromkeys(places.texts, WORDS)
    return {names[place]: found[place] for place in sorted(found)}


def _places(bare: Any, dataset: Dataset) -> Places:
    most = min(MAX_ONE_HOT, bare.max_bins) if isinstance(bare, BOOSTING) else MAX_ONE_HOT
    places = Places([], [], [], [], [])
    for place, feature in enumerate(dataset.schema.features):
        if feature.type == "category":
            (places.few if _codes(dataset, place) <= most else places.many).append(place)
        elif feature.type == "text":
            places.texts.append(place)
        else:
            (places.dates if feature.type == "date" else places.numbers).append(place)
    return places


def _codes(dataset: Dataset, place: int) -> int:
    """Return the number of codes in a column; that of unknown categories is one too."""
    column = dataset.features[:, place].astype(np.float64)
    return len(np.unique(column[~np.isnan(column)]))


def _for_boosting(bare: Any, dataset: Dataset, places: Places) -> Any:
    if not (places.many or places.texts):
        bare.set_params(categorical_features=places.few or None)
        return None
    bare.set_params(categorical_features=list(range(len(places.few))) or None)
    others = sorted(places.numbers + places.dates)
    steps = (
        ("categories", "passthrough", places.few),
        ("numbers", "passthrough", others),
        ("many categories", _target_encoder(dataset), places.many),
    )
    return ColumnTransformer(
        [*(step for step in steps if step[2]), *_of_texts(dataset, places, sparse=False)], sparse_threshold=0.0
    )


def _of_texts(dataset: Dataset, places: Places, sparse: bool) -> list[tuple[str, Any, int]]:
    """Return a step of a ColumnTransformer for each column of texts."""
    rows = int((~dataset.in_test).sum())
    topics = max(1, min(MAX_TOPICS, rows // ROWS_OF_A_TOPIC))
    return [(f"text {place}", _words(0 if sparse else topics), place) for place in places.texts]


def _words(topics: int) -> Any:
    """``topics``: 0 for a sparse matrix of all words."""
    hashed = HashingVectorizer(n_features=WORDS_HASHED, ngram_range=(1, 2), alternate_sign=False, norm=None)
    steps = [TruncatedSVD(topics, random_state=SEED)] if topics else []
    return make_pipeline(hashed, TfidfTransformer(sublinear_tf=True), *steps)


def _takes_sparse(bare: Any) -> bool:
    """RANSAC does, and needs more rows than columns."""
    return bool(bare.__sklearn_tags__().input_tags.sparse) and not isinstance(bare, RANSACRegressor)


def _target_encoder(dataset: Dataset) -> TargetEncoder:
    kind = "continuous" if dataset.schema.task == "regression" else "binary" if _trained_classes(dataset) == 2 else "multiclass"
    return TargetEncoder(target_type=kind, cv=KFold(FOLDS, shuffle=True, random_state=SEED))


def _trained_classes(dataset: Dataset) -> int:
    return len(np.unique(dataset.target[~dataset.in_test]))


def _imputed(bare: Any, dataset: Dataset, places: list[int]) -> list[Any]:
    gaps = bool(places) and bool(np.isnan(dataset.features[:, places].astype(np.float64)).any())
    return [SimpleImputer(strategy="median")] if gaps and not bare.__sklearn_tags__().input_tags.allow_nan else []


def _scaled(bare: Any, steps: list[Any]) -> list[Any]:
    package = type(bare).__module__.partition(".")[0]
    return steps if _is_unscaled(bare) or package != "sklearn" else [*steps, StandardScaler()]


def _is_unscaled(bare: Any) -> bool:
    package, _, module = type(bare).__module__.partition(".")
    return package != "sklearn" or module.partition(".")[0] in UNSCALED


def _joined(steps: list[Any]) -> Pipeline | Any:
    """Return one transformer, or None for no step."""
    return make_pipeline(*steps) if len(steps) > 1 else steps[0] if steps else None
