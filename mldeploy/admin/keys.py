"""`mldeploy keys`: manages API keys. It runs on the server, beside a running service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from auth.keys import SCOPES, BadKey, Key, Keys, NameTaken, TooManyKeys, UnknownKey, check_name, check_scopes, parse_rate
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.ledger import Ledger
from mldeploy.cli.layout import json_option, shows_tables
from mldeploy.cli.output import errors_reported, print_json
from mldeploy.cli.table import NARROW, Column, print_table
from settings import Settings, load

home_option = click.option("--home", type=click.Path(file_okay=False), help="Of the service.  [default: ~/.mldeploy]")

COLUMNS = (
    Column("ID", whole=True),
    Column("NAME"),
    Column("SCOPES", from_width=NARROW),
    Column("RATE", from_width=NARROW),
    Column("CREATED", from_width=100),
    Column("REVOKED"),
)
FIRST_KEY_NOTICE = (
    "This is the service's first key: from now on every request but those to /health needs one "
    "(Authorization: Bearer mld_…), also when all keys are revoked."
)


def checked(check: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str], str]:
    """An option's callback that reports an invalid value as a usage error."""

    def callback(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
        try:
            check(value)
        except BadKey as error:
            raise click.BadParameter(str(error)) from None
        return value

    return callback


def _split(scopes: str) -> list[str]:
    return [scope.strip() for scope in scopes.split(",")]


def _parse_rate(rate: str) -> str:
    return parse_rate(rate) if rate else ""


@click.group()
def keys() -> None:
    """Keys of callers: make, list, rotate and revoke them, on the server.

    Without any key the service is for this machine alone, or for everybody who reaches it if it was started with --insecure.
    As soon as one is made, every request but those to /health needs one: `Authorization: Bearer mld_…`, `X-API-Key: mld_…`, or as
    a browser's password. What is changed here counts at once.
    """


@keys.command()
@click.option("--name", required=True, callback=checked(check_name), help="Whose it is: 1 to 64 characters.")
@click.option(
    "--scopes",
    default="predict",
    show_default=True,
    callback=checked(lambda value: check_scopes(_split(value))),
    help=f"What it may do, of {','.join(SCOPES)}. admin may all: aliases, rollback, the jobs of others too.",
)
@click.option(
    "--rate", default="", callback=checked(_parse_rate), help="How often: 100/m, 5/s, 1000/h, 100/30s.  [default: no limit]"
)
@home_option
def create(name: str, scopes: str, rate: str, home: str | None) -> None:
    """Make a key, and print it on the last line: it is shown this once, and kept only as a hash."""
    with _keys(home) as known:
        first = not known.key_set().closed
        try:
            key, token = known.create(name, _split(scopes), rate)
        except NameTaken as error:
            raise click.BadParameter(str(error), param_hint="'--name'") from None
    click.echo(
        f"Key {key.id} of {key.name}: {', '.join(key.scopes)}; {_rate(key) or 'no limit'}. It is shown this once:", err=True
    )
    if first:
        click.echo(FIRST_KEY_NOTICE, err=True)
    click.echo(token)


@keys.command("list")
@json_option
@home_option
def list_keys(home: str | None) -> None:
    """All keys, also revoked ones. A table on a terminal; JSON when piped or with --json."""
    with _keys(home) as known:
        rows = [key.shown() | {"rate": _rate(key)} for key in known.all()]
    if not shows_tables():
        print_json({"keys": rows})
    elif rows:
        print_table(COLUMNS, map(make_row, rows))
    else:
        click.echo("There is no key: the service is for this machine alone, or with --insecure for everybody who reaches it.")


@keys.command()
@click.argument("name_or_id")
@home_option
def rotate(name_or_id: str, home: str | None) -> None:
    """A new token for a key, printed on the last line; the old one is worthless at once. Its jobs and data sets stay its own."""
    with _keys(home) as known, _unknown_key_reported():
        key, token = known.rotate(name_or_id)
    click.echo(f"Key {key.id} of {key.name} has a new token. It is shown this once:", err=True)
    click.echo(token)


@keys.command()
@click.argument("name_or_id")
@home_option
def revoke(name_or_id: str, home: str | None) -> None:
    """Make a key worthless, at once and for good: nobody but an admin reads its jobs, and nobody its data sets (see rotate).
    After the last one the service answers nobody until a new one is made."""
    with _keys(home) as known, _unknown_key_reported():
        key = known.revoke(name_or_id)
    click.echo(f"revoked {key.id} of {key.name}")


@contextmanager
def _unknown_key_reported() -> Iterator[None]:
    try:
        yield
    except UnknownKey as error:
        raise click.BadParameter(str(error), param_hint="NAME_OR_ID") from None


def make_row(key: dict[str, Any]) -> tuple[object, ...]:
    """A key's row in the table."""
    rest = (key[name] or "-" for name in ("rate", "created_at", "revoked_at"))
    return key["id"], key["name"], ",".join(key["scopes"]), *rest


def _rate(key: Key) -> str | None:
    """The rate as `--rate` accepts it."""
    return f"{key.rate}s" if key.rate else None


@contextmanager
def _keys(home: str | None) -> Iterator[Keys]:
    """Reports errors that the user can fix as one message, with exit status 1."""
    with errors_reported():
        settings = load().replace(home=home) if home else load()
        ledger = Ledger(settings.with_embedded_redis())
        try:
            yield Keys(ledger.redis, ledger.prefix, ledger.guard)
        except LedgerUnavailable as error:
            raise click.ClickException(f"{_unreachable(settings)} ({error})") from None
        except (LedgerFull, TooManyKeys) as error:
            raise click.ClickException(str(error)) from None


def _unreachable(settings: Settings) -> str:
    if settings.redis_url:
        return "the Redis at MLDEPLOY_REDIS_URL does not answer: start it, or set the URL that the service has"
    return f"no service runs on {settings.home}: start it with `mldeploy up --home {settings.home}`, or give its own --home"
