"""``python -m mldeploy.admin.datasets``: delete data sets, or rows of them, for good.

On the server, beside the service that runs, and in a process of its own.
"""

from pathlib import Path

import click

from mldeploy.admin.operator import FILE, CannotOperate, Operator, ask, home_option, operating, read_table, yes_option
from mldeploy.closed_pipe import PipedGroup
from modeler import dataset_parts, table
from modeler.cleanup import all_of, remove_parts
from models.datasets import DatasetRecord


@click.group(cls=PipedGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """On the server, beside a service that runs."""


@main.command("delete")
@click.argument("name")
@click.option("--rows", "file", type=FILE, help="Only the rows of this table.")
@yes_option
@home_option
def delete_data(name: str, file: Path | None, yes: bool, home: str | None) -> None:
    """Delete a data set, or rows of it, for good. Versions that were trained on them say so from then on."""
    with operating(home) as here:
        ask(f"delete {'rows of ' if file else ''}the data set {name} for good?", yes)
        found = here.datasets.find(name)
        record = here.datasets.get(name)
        gone = read_table(file, record.types) if file else None
        affected = _affected(here, record, gone)
        left = dataset_parts.without(record, here.artifacts.store, gone) if gone else None
        count = record.rows - (left.rows if left else 0)
        if count and not (here.datasets.apply(found, left) if left else here.datasets.forget(found)):
            raise CannotOperate(f"{name} changed meanwhile: try again")
        noted = _note_and_remove(here, name, affected, f"{dataset_parts.timestamp()}: rows of the data set {name} were deleted")
        if not count and not affected:
            raise CannotOperate(f"none of these rows is in {name}")
        click.echo(f"deleted {count} rows of {name}; {noted} versions were trained on rows that are gone, and say so")


def _affected(here: Operator, record: DatasetRecord, gone: table.Table | None) -> set[str]:
    """The parts that hold rows which are to go: of the data set, and of versions that were trained on what it was."""
    cards = [card for model in all_of(here.registry) for card in model.cards.values() if card.data.dataset == record.name]
    parts = {part.sha256 for part in record.parts} | {part for card in cards for part in card.data.parts}
    return {part for part in parts if gone is None or dataset_parts.holds(here.artifacts.store, part, gone)}


def _note_and_remove(here: Operator, name: str, parts: set[str], note: str) -> int:
    """How many versions of this data set were made from these parts. What another data set has, or a version of it, is kept."""
    noted, used = 0, here.datasets.parts()
    for model in all_of(here.registry):
        for card in model.cards.values():
            if card.data.dataset != name:
                used |= set(card.data.parts)
            elif parts & set(card.data.parts):
                here.registry.note(model.name, card.version, note)
                noted += 1
    remove_parts(parts - used, here.artifacts.store)
    return noted


if __name__ == "__main__":
    main(prog_name="mldeploy datasets")
