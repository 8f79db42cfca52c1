"""Prints models, and the versions of one, as tables."""

from collections.abc import Iterable, Mapping
from typing import Any

from mldeploy.cli.layout import format_time
from mldeploy.cli.table import Column, print_table

MODELS = (Column("NAME"), Column("CHAMPION"), Column("VERSIONS"))
VERSIONS = (
    Column("VERSION"),
    Column("ESTIMATOR"),
    Column("METRIC"),
    Column("TRAINED", from_width=80),
    Column("ALIASES"),
    Column("ROWS", from_width=80),
)
METRICS = ("accuracy", "rmse")  # the gate's own, of a classifier and of a regressor


def print_models(models: Iterable[Mapping[str, Any]]) -> None:
    print_table(MODELS, [(model["name"], model["champion"], len(model["versions"])) for model in models])


def print_versions(model: Mapping[str, Any]) -> None:
    print_table(VERSIONS, [_version_row(card, model["aliases"]) for card in model["versions"]])


def _version_row(card: Mapping[str, Any], aliases: Mapping[str, int]) -> tuple[object, ...]:
    names = ", ".join(alias for alias, version in aliases.items() if version == card["version"])
    trained = format_time(card["created_at"])
    return card["version"], card["estimator"], _format_metric(card["metrics"]), trained, names, card["data"]["rows"]


def _format_metric(metrics: Mapping[str, Any]) -> str:
    """Nothing for an imported model that was not evaluated."""
    return next((f"{name} {metrics[name]:.4g}" for name in METRICS if metrics.get(name) is not None), "")
