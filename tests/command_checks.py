"""Whether a command line that is not run could be: its program, sub-command, options, target or module exists."""

import re
import shlex
import tomllib
from collections.abc import Callable

import click
import yaml

from mldeploy.admin import datasets as admin_datasets
from mldeploy.admin import models as admin_models
from mldeploy.local.main import main
from tests.processes import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
ON_THE_SERVER = {"models": admin_models.main, "datasets": admin_datasets.main}
PLACEHOLDER = re.compile(r"<\w+>|…")


def check_mldeploy(command: str) -> None:
    """Raise click's own error if a sub-command or an option of it does not exist."""
    words = [PLACEHOLDER.sub("x", word) for word in shlex.split(command)[1:]]
    _resolve(main, "mldeploy", words)


def _resolve(found: click.Command, name: str, words: list[str]) -> None:
    context = click.Context(found, info_name=name, resilient_parsing=True)
    if isinstance(found, click.Group) and words and not words[0].startswith("-"):
        below, command, rest = found.resolve_command(context, list(words))
        if command is None:  # click says nothing when it parses resiliently
            raise click.UsageError(f"there is no `{name} {words[0]}`")
        if command.context_settings.get("ignore_unknown_options"):  # see on_the_server
            return _resolve(ON_THE_SERVER[name], name, words)
        return _resolve(command, below or words[0], rest)
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in _options(found)]
    if unknown:
        raise click.NoSuchOption(unknown[0])
    found.make_parser(context).parse_args(list(words))
    return None


def _options(command: click.Command) -> set[str]:
    parameters = command.get_params(click.Context(command))
    return {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)} | {"-h", "--help"}


def all_options() -> set[str]:
    """Return the options of every command."""

    def below(command: click.Command) -> set[str]:
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        return _options(command).union(*map(below, inner))

    return set().union(*map(below, (main, *ON_THE_SERVER.values())))


def check_make(command: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for word in shlex.split(command)[1:]:
        name, is_setting, _ = word.partition("=")
        assert f"$({name})" in MAKEFILE or f"$(if $({name})" in MAKEFILE if is_setting else word in targets, f"make has no {word}"


def check_docker(command: str) -> None:
    """Check the services that are named, and our own command in one of them."""
    services = yaml.safe_load(COMPOSE)["services"]
    words = shlex.split(command)
    named = re.findall(r"--scale ([\w-]+)=", command) + ([words[3]] if words[2] == "exec" else [])
    unknown = [name for name in named if name not in services]
    assert named, "no service is named"
    assert not unknown, f"docker-compose.yml has no {unknown}"
    if words[2] == "exec":
        check_mldeploy(shlex.join(words[4:]))


def check_exports(command: str) -> None:
    names = re.findall(r"(\w+)=", command)
    unknown = [name for name in names if f"${{{name}" not in COMPOSE]
    assert names, "nothing is exported"
    assert not unknown, f"docker-compose.yml reads no {unknown}"


def check_python(command: str) -> None:
    words = shlex.split(command)
    assert words[1] == "-m"
    path = ROOT / words[2].replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"there is no module {words[2]}"


def check_pip(command: str) -> None:
    wanted = shlex.split(command)[2]
    extra = re.fullmatch(r"(mldeploy|\./\w+)\[(\w+)\]", wanted)
    if extra:
        folder = ROOT / extra[1] if extra[1].startswith(".") else ROOT
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert extra[2] in project["optional-dependencies"], f"there is no extra {extra[2]}"
    else:
        assert (ROOT / wanted / "pyproject.toml").exists(), f"{wanted} is no project"


def check_server(command: str) -> None:
    """Check the application; tests/integration/test_ways.py starts these servers."""
    assert "api:create_app()" in command or "--app api" in command
    assert hasattr(__import__("api"), "create_app")


def check_curl(command: str) -> None:
    raise AssertionError(f"{command}: write it as a block, whose commands are run")


CHECKS: dict[str, Callable[[str], None]] = {
    "mldeploy": check_mldeploy,
    "make": check_make,
    "docker": check_docker,
    "python": check_python,
    "pip": check_pip,
    "gunicorn": check_server,
    "flask": check_server,
    "curl": check_curl,
}
