"""`mldeploy predict` and `train`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from mldeploy.cli.options import submission_options, timeout_option, wait_option, with_client
from mldeploy.cli.output import show
from mldeploy.cli.reading import reading_options, take_reading
from mldeploy.client import Client
from mldeploy.client.payload import CONTENT_TYPES


@click.command()
@click.argument("measurements")
@click.option("--model", default="", help="The model's name.  [default: the service's own]")
@click.option("--version", default="", help="A number or an alias.  [default: champion]")
@click.option("--proba", is_flag=True, help="Give each class's probability too.")
@click.option("--drop-extra", is_flag=True, help="Drop fields that the model does not take.")
@submission_options
@with_client
@wait_option
@timeout_option
def predict(client: Client, measurements: str, wait: bool, timeout: float | None, **options: Any) -> None:
    """Predict MEASUREMENTS: JSON (an object or an array of them), a file that holds it or a table (.csv, .parquet, .ndjson), or -
    for JSON on standard input."""
    path = Path(measurements)
    is_table = path.suffix.lower() in CONTENT_TYPES and path.is_file()
    show(client.predict(path if is_table else _read_json(measurements), **options), wait, timeout)


@click.command()
@click.argument("table", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", default="", help="The model's name.  [default: the service's own]")
@click.option("--dataset", default="", help="Train on the rows of this data set.  [default: the model's own]")
@click.option("--target", default="", help="The column to predict.  [default: the model's own, or the last one]")
@click.option("--weight", default="", help="A column of sample weights.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="[default: inferred from the target]")
@click.option("--estimator", default="", help="A scikit-learn class, or auto.  [default: the champion's, or auto]")
@click.option("--params", default="", help="Its parameters, as JSON: '{\"max_depth\": 3}'")
@click.option("--search", type=click.FloatRange(min=0), help="Look for better parameters, for so many seconds.")
@click.option("--unknown", type=click.Choice(["refuse", "ignore"]), help="Categories not seen in training.  [default: refuse]")
@click.option("--promote", type=click.Choice(["if_better", "always", "never"]), default="if_better", show_default=True)
@click.option("--metric", help="What the gate compares.  [default: accuracy, or rmse]")
@click.option("--min-improvement", type=click.FloatRange(min=0), help="By more than so much it must be better.  [default: 0]")
@click.option("--confidence", type=float, help="Such as 0.95: all of the improvement's interval must be better.")
@click.option("--test-share", type=float, help="Of the rows; fixed by the first training.  [default: 0.2]")
@click.option(
    "--threshold",
    callback=lambda _context, _option, text: _threshold(text),
    help="auto, or the probability from which on the second of two classes is predicted.",
)
@click.option("--group", default="", help="A column: rows of one value are all for testing, or all for training.")
@click.option("--time", default="", help="A column: the latest rows by it are for testing.")
@reading_options
@submission_options
@with_client
@wait_option
@timeout_option
def train(client: Client, table: Path | None, wait: bool, timeout: float | None, params: str, **options: Any) -> None:
    """Train on TABLE (.csv, .parquet, .ndjson), or, without one, on the rows that the model has.

    One row in five is kept for testing. The new version serves if it is better on those rows than the one in service.
    """
    reading = take_reading(options)
    show(client.train(table, params=_params(params), **options, **reading), wait, timeout)


def _threshold(text: str | None) -> str | float | None:
    if text is None or text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter("auto, or a number between 0 and 1") from None


def _params(text: str) -> dict[str, Any]:
    try:
        params = json.loads(text or "{}")
    except ValueError as error:
        raise click.UsageError(f"--params takes JSON, and this is not: {error}") from None
    if not isinstance(params, dict):
        raise click.UsageError("--params takes a JSON object")
    return params


def _read_json(argument: str) -> Any:
    text = sys.stdin.read() if argument == "-" else argument
    if not text.lstrip().startswith(("{", "[")):
        path = Path(argument)
        if not path.is_file():
            raise click.UsageError(f"{argument!r} is neither JSON nor a file")
        text = path.read_text(errors="replace")
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"predict takes JSON, and this is not: {error}") from None
