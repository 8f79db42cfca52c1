"""``python -m mldeploy.admin.models``: import, export, refit, adopt and delete models.

It runs on the server, beside a running service, in a process of its own: it needs scikit-learn, which the command line does not.
"""

from pathlib import Path

import click
import msgspec

from jobs.condition import NOT_ADOPTED
from jobs.health_notes import HealthNotes
from mldeploy.account import account
from mldeploy.admin.operator import (
    FILE,
    CannotOperate,
    Operator,
    confirm,
    home_option,
    operating,
    read_sample,
    why_option,
    yes_option,
)
from mldeploy.closed_pipe import PipedGroup
from modeler import artifact, import_model
from modeler.adopt import Verdict, adopt, examine, restore_dataset
from modeler.cleanup import remove_version
from modeler.export_model import export
from modeler.refit import CannotRefit, refit, save
from models.card import CHAMPION, Card
from models.options import ModelName
from models.registry import UnknownVersion
from models.rollout import CannotServe


@click.group(cls=PipedGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """On the server, beside a service that runs."""


@main.command("import")
@click.argument("file", type=FILE)
@click.option("--name", default="", help="The model's name; of an exported one by default its own.")
@click.option("--sample", type=FILE, help="Rows to read the schema from and to judge it on.")
@click.option("--target", default="", help="The column of the sample that it predicts.  [default: the last one]")
@click.option("--promote/--no-promote", default=None, help="Serve it.  [default: if there is no champion]")
@why_option
@home_option
def import_file(
    file: Path, name: str, sample: Path | None, target: str, promote: bool | None, why: str, home: str | None
) -> None:
    """Bring in FILE: a joblib file of yours, or what `models export` wrote.

    Unpickling runs code: only bring in what you trust. It is judged on all rows of the sample, and nobody knows whether it was
    trained on them; its card says so.
    """
    with operating(home) as operator:
        known = read_sample(sample) if sample else None
        imported = import_model.import_model(file.read_bytes(), name, known, target)
        _check_name(imported.card.name)
        version, folder = operator.next_version(imported.card.name)
        placed = msgspec.structs.replace(imported.card, version=version, artifact=artifact.describe(folder, imported.model))
        artifact.write(operator.artifacts, placed, imported.model)
        wanted = promote if promote is not None else operator.registry.resolve(placed.name) is None
        try:
            serves = operator.publish(placed, wanted, why or f"imported from {file.name}")
        except BaseException:
            operator.inventory.remove(placed.artifact.folder)
            raise
        _print_card(
            placed, f"imported as {placed.name} version {version}" + (", and it serves" if serves else _promote_hint(placed))
        )


@main.command("export")
@click.argument("name")
@click.option("--version", default=CHAMPION, show_default=True, help="A number or an alias.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: NAME-VERSION.zip]")
@home_option
def export_model(name: str, version: str, output: Path | None, home: str | None) -> None:
    """Write a version, verified, into a zip with a scikit-learn pipeline that takes your data frames and works without mldeploy.

    Its README says how; `models import` reads it too.
    """
    with operating(home) as operator:
        card = _card(operator, name, version)
        output = output or Path(f"{card.name}-{card.version}.zip")
        output.write_bytes(export(card, artifact.verified(operator.artifacts, card)))
        click.echo(f"{card.name} version {card.version} is in {output}")


@main.command("refit")
@click.argument("names", nargs=-1)
@click.option(
    "--tolerance", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="How much worse it may be: a share."
)
@home_option
def refit_models(names: tuple[str, ...], tolerance: float, home: str | None) -> None:
    """Train every version that serves (or those of NAMES) again with this scikit-learn, on the same rows.

    For a rollout: start workers with the new scikit-learn beside the old ones, run this with the new one, stop the old workers.
    """
    with operating(home) as operator:
        failed = [name for name in names or operator.registry.names() if not _refit(operator, name, tolerance)]
        if failed:
            raise CannotOperate(f"not refitted: {', '.join(failed)}")


def _refit(operator: Operator, name: str, tolerance: float) -> bool:
    operator.registry.get(name)
    card = operator.registry.look_up(name)
    if card is None:
        click.echo(f"{name}: nothing serves")
        return True
    try:
        _check_rows(operator, card)
        made = refit(card, operator.artifacts, operator.settings.estimators)
        _check_rows(operator, card)  # they may have been deleted meanwhile
        new = save(made, card, operator.artifacts, *operator.next_version(name), tolerance)
    except Exception as error:  # noqa: BLE001 - whatever an estimator raises; the other models are still refitted
        click.echo(f"{name}: {error or type(error).__name__}", err=True)
        return False
    with_ = new.libraries["scikit-learn"]
    try:
        operator.publish(new, True, f"refit of version {card.version} with scikit-learn {with_}")
    except CannotServe as error:
        operator.publish(new, False, "")
        click.echo(f"{name}: {error}; start workers with scikit-learn {with_}{_promote_hint(new)}", err=True)
        return False
    click.echo(f"{name}: version {new.version}, made with scikit-learn {with_}, serves instead of version {card.version}")
    return True


def _check_rows(operator: Operator, card: Card) -> None:
    """Raises CannotRefit if rows that the version was trained on have been deleted. They may still be in the store, for another
    model."""
    if notes := operator.registry.get(card.name).notes.get(card.version):
        what = f"version {card.version} was trained on rows that have been deleted"
        raise CannotRefit(f"{what} ({notes[-1]}): train the model again")


@main.command("adopt")
@click.argument("names", nargs=-1)
@click.option("--promote", is_flag=True, help="Let the newest version serve, where nothing of the model does.")
@click.option("--dry-run", is_flag=True, help="Say what would be adopted, and change nothing.")
@why_option
@home_option
def adopt_models(names: tuple[str, ...], promote: bool, dry_run: bool, why: str, home: str | None) -> None:
    """Register versions that the store has and the registry does not know, as after a loss of Redis: of NAMES, or of all models.

    Each comes back with its card, its number and the data set that it was trained on, if its signature is right. Aliases are not
    in the store: no version serves until it is promoted (--promote, or `mldeploy models promote NAME VERSION`).
    """
    with operating(home) as operator:
        refused, adopted, unserved = 0, 0, list[str]()
        stored = operator.inventory.models()
        if unknown := set(names) - set(stored):
            raise CannotOperate(f"the store has no model {', '.join(sorted(unknown))}; it has {', '.join(stored) or 'none'}")
        for name in names or stored:
            verdicts = examine(operator.artifacts, operator.registry, operator.inventory, name)
            done = [verdict if dry_run or verdict.refused else adopt(operator.registry, verdict) for verdict in verdicts]
            for verdict in reversed(done):  # so that the data set of the newest version is restored
                click.echo(_format_adopted(operator, verdict, dry_run))
            cards = [verdict.card for verdict in done if verdict.card]
            refused, adopted = refused + len(done) - len(cards), adopted + len(cards)
            if cards and not dry_run:
                operator.inventory.refresh(name)
                if not _promote_adopted(operator, max(cards, key=lambda card: card.version), promote, why):
                    unserved.append(name)
        if not operator.registry.unadopted():
            HealthNotes(operator.ledger).remove_problem(NOT_ADOPTED)
        click.echo(f"{'to be adopted' if dry_run else 'adopted'}: {adopted}; refused: {refused}")
        if refused and not adopted:
            raise CannotOperate("nothing could be adopted; see above")
        if unserved:
            raise CannotOperate(f"adopted, and no version of {', '.join(unserved)} can serve; see above")


def _format_adopted(operator: Operator, verdict: Verdict, dry_run: bool) -> str:
    if verdict.card is None:
        return f"{verdict.folder}: refused: {verdict.refused}"
    card = verdict.card
    text = f"{verdict.folder}: {card.name} version {card.version}, {card.estimator}, of {card.created_at}"
    restored = None if dry_run else restore_dataset(operator.artifacts, operator.datasets, card)
    return f"{text}; its data set {restored.name} is back, {restored.rows} rows" if restored else text


def _promote_adopted(operator: Operator, newest: Card, promote: bool, why: str) -> bool:
    """False if the version should serve and cannot."""
    if operator.registry.resolve(newest.name) is not None:
        return True
    if not promote:
        click.echo(f"{newest.name}: no version serves; `mldeploy models promote {newest.name} {newest.version}` lets the newest")
        return True
    try:
        operator.rollout.await_loaded(newest, operator.live_workers, operator.settings.swap_patience)
    except CannotServe as error:
        click.echo(f"{newest.name}: no version serves: {error}")
        return False
    operator.registry.move(newest.name, CHAMPION, newest.version, account(), why or "adopted")
    click.echo(f"{newest.name}: version {newest.version} serves")
    return True


@main.command("delete")
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="Only this one.  [default: the whole model]")
@yes_option
@home_option
def delete_model(name: str, version: int | None, yes: bool, home: str | None) -> None:
    """Delete a model, or a version that does not serve, for good. Jobs that name it fail."""
    with operating(home) as operator:
        model = operator.registry.get(name)
        versions = [version] if version else list(model.cards)
        if version and version not in model.cards:
            raise UnknownVersion(f"{name} has no version {version}")
        if version and version in model.aliases.values():
            raise CannotOperate(f"version {version} has an alias: move that first")
        confirm(f"delete {f'version {version}' if version else f'all {len(versions)} versions'} of {name} for good?", yes)
        if not version:
            operator.registry.delete(name)
        for number in versions:
            outcome = operator.ledger.retire(f"model:{name}", number, f"{name}/{number}", force=True)
            if outcome == "aliased":
                raise CannotOperate(f"version {number} has got an alias meanwhile: move that first")
            remove_version(
                model.cards[number], operator.artifacts.store, operator.inventory, operator.registry, operator.datasets
            )
        if not version:
            for folder in operator.inventory.leftovers(name):
                operator.inventory.remove_leftover(name, folder)
            if not operator.inventory.contents(name).folders:
                operator.artifacts.store.remove(name)
        click.echo(f"deleted {name}" + (f" version {version}" if version else f" and its {len(versions)} versions"))


def _card(operator: Operator, name: str, reference: str) -> Card:
    operator.registry.get(name)
    card = operator.registry.look_up(name, reference)
    if card is None:
        raise UnknownVersion(f"{name} has no version {reference}")
    return card


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, ModelName)
    except msgspec.ValidationError:
        raise CannotOperate("give the model a name (--name) of at most 64 lower-case letters, digits, - and _") from None


def _promote_hint(card: Card) -> str:
    return f"; `mldeploy models promote {card.name} {card.version}` makes it serve"


def _print_card(card: Card, text: str) -> None:
    if not card.metrics.rows:
        click.echo(f"{text}; it is not judged: the sample has no column that it predicts")
        return
    click.echo(f"{text}; judged on {card.metrics.rows} rows: " + msgspec.json.encode(card.metrics).decode()[:300])


if __name__ == "__main__":
    main(prog_name="mldeploy models")
