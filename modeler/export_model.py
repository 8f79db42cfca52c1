"""Exports a version as a zip archive that works without mldeploy, and that `models import` reads."""

import sys
import zipfile
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import msgspec
from sklearn.pipeline import Pipeline

from modeler import artifact, mldeploy_model
from modeler.label_encoding import LabelEncodedClassifier
from modeler.mldeploy_model import MODULE, PIPELINE, FrameEncoder
from models.card import Card
from models.schema import Schema

README = """# {name}, version {version}

A {estimator} that predicts `{target}` ({task}). Made on {created}, of {rows} rows; its card is in card.json.

```python
import mldeploy_model  # the file beside this one

model = mldeploy_model.load()  # or joblib.load("pipeline.joblib"), with this folder on Python's path
model.predict(frame)
```

`model` is a scikit-learn pipeline. `frame` is a pandas data frame with the columns of the training table, as they came: texts,
numbers, dates as ISO 8601 texts or as datetimes, NaN or None for a gap. It predicts what the service does. The columns:

{columns}

It needs pandas and {libraries}.

`model.joblib` is the estimator alone, which takes encoded numbers by position. `mldeploy models import` reads this archive.
"""


def export(card: Card, model: bytes) -> bytes:
    """Return the archive: ``pipeline.joblib`` takes the owner's frame, with ``mldeploy_model.py``; ``model.joblib`` and
    ``card.json`` are for the import. Of an imported model, which takes the owner's frame itself, there is no pipeline."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(artifact.MODEL, model)
        archive.writestr(artifact.CARD, msgspec.json.format(card.to_json().encode(), indent=2))
        if card.takes == "matrix":
            archive.writestr(PIPELINE, _dump(pipeline(card.schema, joblib.load(BytesIO(model)))))
            archive.writestr(f"{MODULE}.py", Path(mldeploy_model.__file__).read_text(encoding="utf-8"))
            archive.writestr("README.md", _readme(card))
    return out.getvalue()


def pipeline(schema: Schema, estimator: Any) -> Pipeline:
    """Return a fitted pipeline from a data frame to what the service predicts."""
    features = [
        {"name": each.name, "type": each.type, "categories": list(each.categories), "unknown": each.unknown}
        for each in schema.features
    ]
    return Pipeline([("frame", FrameEncoder(features)), ("model", _portable(estimator))])


def _portable(estimator: Any) -> Any:
    """Return the estimator with the classes of the archive's module instead of those of mldeploy, on all levels."""
    if isinstance(estimator, LabelEncodedClassifier):
        return mldeploy_model.LabelEncodedClassifier(_portable(estimator.estimator), estimator.classes_)
    if isinstance(estimator, Pipeline):
        return Pipeline([(name, _portable(step)) for name, step in estimator.steps])
    inner = getattr(estimator, "estimator", None), getattr(estimator, "estimator_", None)
    if any(part is not None for part in inner) and type(estimator).__module__.startswith("sklearn."):
        estimator = deepcopy(estimator)
        for name, part in zip(("estimator", "estimator_"), inner, strict=True):
            if part is not None and name in vars(estimator):
                setattr(estimator, name, _portable(part))
    return estimator


def _dump(made: Pipeline) -> bytes:
    sys.modules.setdefault(MODULE, mldeploy_model)  # pickle looks for the classes there
    return artifact.dump(made)


def _readme(card: Card) -> str:
    return README.format(
        name=card.name,
        version=card.version,
        estimator=card.estimator,
        target=card.schema.target,
        task=card.schema.task,
        created=card.created_at[:10],
        rows=card.data.rows,
        columns="\n".join(f"- `{each.name}`: {each.type}" for each in card.schema.features),
        libraries=", ".join(f"{name} {version}" for name, version in card.libraries.items() if name != "pandas"),
    )
