"""``python -m mldeploy.admin.datasets``: delete data sets, or rows of them, permanently.

It runs on the server, beside a running service, in a process of its own.
"""

from pathlib import Path

import click

from mldeploy.admin.operator import FILE, CannotOperate, Operator, confirm, home_option, operating, read_table, yes_option
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
    with operating(home) as operator:
        confirm(f"delete {'rows of ' if file else ''}the data set {name} for good?", yes)
        found = operator.datasets.find(name)
        record = operator.datasets.get(name)
        deleted = read_table(file, record.types) if file else None
        affected = _affected(operator, record, deleted)
        remaining = dataset_parts.without(record, operator.artifacts.store, deleted) if deleted else None
        count = record.rows - (remaining.rows if remaining else 0)
        if count and not (operator.datasets.apply(found, remaining) if remaining else operator.datasets.delete(found)):
            raise CannotOperate(f"{name} changed meanwhile: try again")
        noted = _note_and_remove(
            operator, name, affected, f"{dataset_parts.timestamp()}: rows of the data set {name} were deleted"
        )
        if not count and not affected:
            raise CannotOperate(f"none of these rows is in {name}")
        click.echo(f"deleted {count} rows of {name}; {noted} versions were trained on rows that are gone, and say so")


def _affected(operator: Operator, record: DatasetRecord, deleted: table.Table | None) -> set[str]:
    """The parts that contain rows to delete: of the data set, and of versions that were trained on it earlier."""
    cards = [card for model in all_of(operator.registry) for card in model.cards.values() if card.data.dataset == record.name]
    parts = {part.sha256 for part in record.parts} | {part for card in cards for part in card.data.parts}
    return {part for part in parts if deleted is None or dataset_parts.contains_any(operator.artifacts.store, part, deleted)}


def _note_and_remove(operator: Operator, name: str, parts: set[str], note: str) -> int:
    """Adds the note to each version of the data set that was trained on these parts, and removes the parts, except those that
    a data set or a version of another one still has. Returns the number of versions with the note."""
    noted, used = 0, operator.datasets.parts()
    for model in all_of(operator.registry):
        for card in model.cards.values():
            if card.data.dataset != name:
                used |= set(card.data.parts)
            elif parts & set(card.data.parts):
                operator.registry.note(model.name, card.version, note)
                noted += 1
    remove_parts(parts - used, operator.artifacts.store)
    return noted


if __name__ == "__main__":
    main(prog_name="mldeploy datasets")
