"""Prints models, and the versions of one, as tables."""

from collections.abc import Mapping
from typing import Any

from mldeploy.cli.layout import format_time
from mldeploy.cli.table import Column, print_table
from mldeploy.client import Client

MODELS = (Column("NAME"), Column("CHAMPION"), Column("ESTIMATOR", whole=True), Column("METRIC"))
VERSIONS = (
    Column("VERSION"),
    Column("ESTIMATOR", whole=True),
    Column("METRIC"),
    Column("TRAINED", from_width=80),
    Column("ALIASES"),
    Column("ROWS", from_width=80),
)
METRICS = ("accuracy", "rmse")  # the gate's own, of a classifier and of a regressor
MAX_CARDS = 50  # each takes a request


def print_models(client: Client) -> None:
    """With more than MAX_CARDS models the table has their names and champions alone."""
    models = client.models()
    columns = MODELS if len(models) <= MAX_CARDS else MODELS[:2]
    print_table(columns, [_model_row(client, model, len(columns) > 2) for model in models])


def print_versions(model: Mapping[str, Any]) -> None:
    print_table(VERSIONS, [_version_row(card, model["aliases"]) for card in model["versions"]])


def _model_row(client: Client, model: Mapping[str, Any], with_card: bool) -> tuple[object, ...]:
    champion = model["champion"]
    if not with_card or champion is None:
        return model["name"], champion, None, None
    card = client.version(model["name"], champion)["card"]
    return model["name"], champion, card["estimator"], _format_metric(card["metrics"])


def _version_row(card: Mapping[str, Any], aliases: Mapping[str, int]) -> tuple[object, ...]:
    names = ", ".join(alias for alias, version in aliases.items() if version == card["version"])
    trained = format_time(card["created_at"])
    return card["version"], card["estimator"], _format_metric(card["metrics"]), trained, names, card["data"]["rows"]


def _format_metric(metrics: Mapping[str, Any]) -> str:
    """Nothing for an imported model that was not evaluated."""
    return next((f"{name} {metrics[name]:.4g}" for name in METRICS if metrics.get(name) is not None), "")
