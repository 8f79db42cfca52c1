"""JSON Schema of forms: a component for each Struct, in the words of its docstring."""

from collections.abc import Sequence
from typing import Any

import msgspec

from jobs.resource import JobResource, Step
from models.results import Added, Predictions, SinglePrediction, TrainResult
from models.schema import Measurements

SCHEMAS = "#/components/schemas/"
MEASUREMENTS = "Measurements"  # the component that is made of the models there are

# What a form holds that is written elsewhere, and kept as JSON until it is told.
HELD: dict[type, dict[str, Sequence[Any]]] = {
    JobResource: {"result": (SinglePrediction, Predictions, TrainResult, Added), "progress": (Step,)},
}

Json = dict[str, Any]


class Forms:
    """Collects ``components`` while it is asked for schemas."""

    def __init__(self) -> None:
        self.components: Json = {}

    def schema(self, form: Any) -> Json:
        if isinstance(form, dict):
            return form
        if form is Measurements:
            return {"$ref": SCHEMAS + MEASUREMENTS}
        (schema,), found = msgspec.json.schema_components([form], ref_template=SCHEMAS + "{name}")
        for name, component in found.items():
            if component_name(name) not in self.components:
                self.components[component_name(name)] = tidy(component)
                self._fill(name)
        tidied: Json = tidy(schema)
        return tidied

    def _fill(self, name: str) -> None:
        for form, held in HELD.items():
            if form.__name__ == name:
                for field, kinds in held.items():
                    told = [self.schema(kind) for kind in kinds]
                    self.components[component_name(name)]["properties"][field] = {"anyOf": told} if len(told) > 1 else told[0]


def component_name(name: str) -> str:
    """Of a class or a reference to it: `Job` for JobResource, which is not called Job since the ledger has a Job of its own."""
    return name.removesuffix("Resource")


def tidy(schema: Any) -> Any:
    """Docstrings as one line. A default that says "nothing" goes, for the field may be left out. So does what Python's patterns
    need at the end, where those of JSON Schema do not take a line break anyhow."""
    if isinstance(schema, list):
        return [tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    told = {name: tidy(value) for name, value in schema.items() if name != "default" or value not in (None, "", {}, [], ())}
    for member in ("$ref", "title"):
        if isinstance(told.get(member), str):
            told[member] = component_name(told[member])
    if isinstance(told.get("description"), str):
        told["description"] = plain(told["description"])
    if isinstance(told.get("pattern"), str):
        told["pattern"] = told["pattern"].removesuffix(r"(?!\n)")
    return told


def plain(text: str | None) -> str:
    """A docstring on one line, as Markdown."""
    return " ".join((text or "").split()).replace("``", "`")
