"""What the operator's commands share: the running service, its store, and the output of errors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pyarrow as pa
import redis

from jobs.errors import LedgerError
from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.live_workers import LiveWorkers
from jobs.wakeup import WakeupSender, make_celery
from mldeploy.account import account
from modeler import table
from modeler.artifact import CorruptArtifact, open_artifact_store
from modeler.dataset_parts import LostRows
from modeler.errors import BadTrainingData
from modeler.import_model import CannotImport
from modeler.refit import CannotRefit
from models.card import Card
from models.datasets import Datasets, UnknownDataset
from models.inventory import Inventory, NumberTaken
from models.registry import MovedMeanwhile, Registry, TooManyModels, UnknownModel, UnknownVersion
from models.rollout import CannotServe, Rollout
from models.signing import NoKey, signing_key
from models.store import BadStore, Misplaced
from settings import BadSettings, Settings, load

home_option = click.option("--home", type=click.Path(file_okay=False), help="Of the service.  [default: ~/.mldeploy]")
why_option = click.option("--why", default="", help="Logged with the move.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
ENDINGS = {".csv": "csv", ".parquet": "parquet", ".ndjson": "ndjson", ".jsonl": "ndjson"}


class CannotOperate(RuntimeError):
    """The command cannot be executed; the message says why."""


EXPECTED = (
    BadSettings,
    BadStore,
    BadTrainingData,
    CannotImport,
    CannotOperate,
    CannotRefit,
    CannotServe,
    CorruptArtifact,
    LostRows,
    Misplaced,
    MovedMeanwhile,
    NoKey,
    NumberTaken,
    TooManyModels,
    UnknownDataset,
    UnknownModel,
    UnknownVersion,
    OSError,
)


class Operator:
    """Access to a running service for the commands. Raises LedgerUnavailable if none runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings = settings.with_embedded_redis()
        self.ledger = Ledger(settings)
        known = self.ledger.redis, self.ledger.prefix, self.ledger.guard
        self._check_store(self.ledger.guard(lambda: self.ledger.redis.get(self.ledger.prefix + "store")))
        self.registry = Registry(*known, settings.max_models)
        self.datasets, self.rollout = Datasets(*known), Rollout(*known)
        self.live_workers = LiveWorkers(Kind.PREDICT, self.ledger, WakeupSender(make_celery(settings)))
        self.artifacts = open_artifact_store(settings.store_location, signing_key(settings.home_path, settings.signing_key))
        self.inventory = Inventory(*known, self.registry, self.artifacts.store)

    def _check_store(self, of_service: Any) -> None:
        ours, theirs = self.settings.store_location, (of_service or b"").decode()
        if not theirs or _normalized(theirs) != _normalized(ours):
            moved = f"the service keeps its models at {theirs}, and here it would be {ours}"
            reason = moved if theirs else "no training worker has started yet"
            raise CannotOperate(f"{reason}: give the service's own --home, MLDEPLOY_STORE and MLDEPLOY_SIGNING_KEY")

    def next_version(self, name: str) -> tuple[int, str]:
        """Reserves a version number and its folder, so that no cleanup removes the folder. Raises NumberTaken."""
        self.inventory.refresh(name)
        version = self.registry.next_version(name)
        self.registry.announce(name, version)
        return version, self.inventory.begin(name, version, 1)

    def publish(self, card: Card, promote: bool, why: str) -> bool:
        """Publishes the version, and returns whether it serves. Raises CannotServe."""
        champion = self.registry.resolve(card.name)
        if promote:
            self.rollout.await_loaded(card, self.live_workers, self.settings.swap_patience)
        changes = self.registry.publication(card, promote, champion, account(), why)
        if not self.registry.apply(changes):
            raise CannotOperate(f"the champion of {card.name} moved meanwhile: try again")
        return promote


def _normalized(store: str) -> str:
    """The store's URL, or the resolved path of its folder."""
    return store if "://" in store else str(Path(store).resolve())


def read_table(file: Path, known: Any = None) -> table.Table:
    format_ = ENDINGS.get(file.suffix.lower())
    if format_ is None:
        raise CannotOperate(f"the format of {file.name} is not known: name it .csv, .parquet or .ndjson")
    return table.read(file.read_bytes(), format_, known)  # type: ignore[arg-type]


def read_sample(file: Path) -> pd.DataFrame:
    """Read a table as its owner does, with pandas' own types: a model that was made elsewhere was fitted on them."""
    readers: dict[str, Callable[..., Any]] = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "ndjson": partial(pd.read_json, lines=True, convert_dates=False),
    }
    reader = readers.get(ENDINGS.get(file.suffix.lower(), ""))
    if reader is None:
        raise CannotOperate(f"the format of {file.name} is not known: name it .csv, .parquet or .ndjson")
    try:
        found: pd.DataFrame = reader(file)
    except (ValueError, pa.ArrowException) as error:
        raise CannotOperate(f"{file.name} cannot be read: {error}") from None
    if found.empty:
        raise CannotOperate(f"{file.name} has no rows")
    return found.rename(columns=str)


def confirm(question: str, yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise CannotOperate(f"{question} Nobody is there to ask: give --yes")
    if not yes and not click.confirm(question):
        raise click.Abort


@contextmanager
def operating(home: str | None) -> Iterator[Operator]:
    """Reports errors that the user can fix as one message, with exit status 1."""
    try:
        settings = load().replace(home=home) if home else load()
        yield Operator(settings)
    except BrokenPipeError:
        raise
    except (LedgerError, redis.RedisError) as error:
        raise click.ClickException(
            f"no service runs on {home or load().home} ({error}): start it with `mldeploy up`, or give its --home"
        ) from None
    except EXPECTED as error:
        raise click.ClickException(str(error)) from None
