"""JSON Schemas of types: a component for each Struct, described by its docstring."""

from collections.abc import Sequence
from typing import Any

import msgspec

from jobs.resource import JobResource, Step
from models.reading import TableReport
from models.results import Added, Predictions, SinglePrediction, TrainResult
from models.schema import Measurements

SCHEMAS = "#/components/schemas/"
MEASUREMENTS = "Measurements"  # the component that is built from the existing models

# Fields that hold raw JSON of other types.
RAW_FIELDS: dict[type, dict[str, Sequence[Any]]] = {
    JobResource: {"result": (SinglePrediction, Predictions, TrainResult, Added, TableReport), "progress": (Step,)},
}

Json = dict[str, Any]


class Schemas:
    """Makes schemas, and collects their ``components``."""

    def __init__(self) -> None:
        self.components: Json = {}

    def schema(self, type_: Any) -> Json:
        if isinstance(type_, dict):
            return type_
        if type_ is Measurements:
            return {"$ref": SCHEMAS + MEASUREMENTS}
        (schema,), found = msgspec.json.schema_components([type_], ref_template=SCHEMAS + "{name}")
        for name, component in found.items():
            if component_name(name) not in self.components:
                self.components[component_name(name)] = tidy(component)
                self._fill(name)
        tidied: Json = tidy(schema)
        return tidied

    def _fill(self, name: str) -> None:
        for type_, fields in RAW_FIELDS.items():
            if type_.__name__ == name:
                for field, kinds in fields.items():
                    schemas = [self.schema(kind) for kind in kinds]
                    self.components[component_name(name)]["properties"][field] = (
                        {"anyOf": schemas} if len(schemas) > 1 else schemas[0]
                    )


def component_name(name: str) -> str:
    """The component name of a class or a reference: JobResource is `Job`, since the name of the class avoids the ledger's Job."""
    return name.removesuffix("Resource")


def tidy(schema: Any) -> Any:
    """Names the components, joins the lines of docstrings, and removes empty defaults. It also removes ``(?!\\n)`` at the end of
    patterns, which only Python needs: its ``$`` also matches before a line break."""
    if isinstance(schema, list):
        return [tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: tidy(value) for name, value in schema.items() if name != "default" or value not in (None, "", {}, [], ())}
    for member in ("$ref", "title"):
        if isinstance(result.get(member), str):
            result[member] = component_name(result[member])
    if isinstance(result.get("description"), str):
        result["description"] = one_line(result["description"])
    if isinstance(result.get("pattern"), str):
        result["pattern"] = result["pattern"].removesuffix(r"(?!\n)")
    return result


def one_line(text: str | None) -> str:
    """A docstring on one line, as Markdown."""
    return " ".join((text or "").split()).replace("``", "`")
