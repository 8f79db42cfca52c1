"""The tables of the commands, on a terminal of any width."""

import json

import pytest

from mldeploy import Client
from tests.commands import mldeploy, on_a_terminal
from tests.service import Service
from tests.terminal import screen

LABEL = "[red]x[/red] :smile: \u202etxt [/]"  # markup, and a character that turns the line's direction
SHOWN = "[red]x[/red] :smile: \N{REPLACEMENT CHARACTER}txt [/]"
FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}
COMMANDS = [("jobs",), ("models",), ("models", "iris"), ("datasets",), ("datasets", "iris")]


@pytest.mark.parametrize("columns", [120, 80, 72, 60, 40])
@pytest.mark.parametrize("command", COMMANDS)
def test_table_fits_the_terminal(service: Service, command: tuple[str, ...], columns: int) -> None:
    Client(service.url).predict(FLOWER, label="a label that is longer than the column for it, by far").wait(30)
    status, seen = on_a_terminal(*command, "--url", service.url, columns=columns)
    assert status == 0
    lines = screen(seen, 10_000)  # wide enough to see what the terminal would have wrapped
    assert max(map(len, lines)) <= columns
    assert len(lines) > 1


@pytest.mark.parametrize("columns", [120, 80, 40])
def test_label_is_shown_as_it_is_but_for_what_a_terminal_would_obey(service: Service, columns: int) -> None:
    job = Client(service.url).predict(FLOWER, label=LABEL)
    job.wait(30)
    _, seen = on_a_terminal("jobs", "--label", LABEL, "--limit", "1", "--url", service.url, columns=columns)
    heading, *lines = screen(seen, columns)
    place = heading.index("LABEL")
    end = heading.find("CREATED") if "CREATED" in heading else columns
    assert " ".join(line[place:end].strip() for line in lines).strip() == SHOWN
    assert "\u202e" not in seen
    if columns >= 80:
        assert lines[0].startswith(f"{job.id} ")
    else:
        assert "".join(line[: heading.index("STATUS")].strip() for line in lines) == job.id


def test_tables_show_models_versions_and_data_sets(service: Service) -> None:
    Client(service.url).train(model="table-of-iris", dataset="iris", target="species").wait(60)
    assert _row("models", "NAME", "table-of-iris", service) == ["table-of-iris", "1", "1"]
    card = Client(service.url).model("table-of-iris")["versions"][0]
    metric = f"accuracy {card['metrics']['accuracy']:.4g}"
    created = [card["created_at"][:10], card["created_at"][11:19] + "Z"]
    version = ["1", card["estimator"], *metric.split(), *created, "champion", "150"]
    assert _row("models table-of-iris", "VERSION", "1", service) == version
    iris = Client(service.url).dataset("iris")
    assert _row("datasets", "NAME", "iris", service) == ["iris", str(iris["rows"]), "5", "species"]
    assert _row("datasets iris", "COLUMN", "species", service) == ["species", "category", "target"]


def _row(command: str, heading: str, first: str, service: Service) -> list[str]:
    status, seen = on_a_terminal(*command.split(), "--url", service.url)
    rows = [line.split() for line in screen(seen, 120)]
    assert (status, rows[0][0]) == (0, heading)
    return next(row for row in rows if row[0] == first)


@pytest.mark.parametrize("command", [*COMMANDS[1:], ("models", "list"), ("datasets", "list"), ("models", "show", "iris")])
def test_json_on_a_terminal_is_that_of_a_pipe(service: Service, command: tuple[str, ...]) -> None:
    piped = mldeploy(*command, "--url", service.url).stdout
    assert piped.count("\n") == 1
    for options in [command[0], "--json", *command[1:]], [*command, "--json"]:
        status, seen = on_a_terminal(*options, "--url", service.url)
        assert (status, json.loads(seen)) == (0, json.loads(piped))
    assert mldeploy(*command, "--json", "--url", service.url).stdout == piped
    assert mldeploy(*command, "--url", service.url, FORCE_COLOR="1", TTY_COMPATIBLE="1").stdout == piped


def test_json_on_a_terminal_escapes_what_it_would_obey(service: Service) -> None:
    job = Client(service.url).predict(FLOWER, label=LABEL)
    job.wait(30)
    for command in ("result", job.id), ("jobs", "--label", LABEL, "--limit", "1", "--json"):
        _, seen = on_a_terminal(*command, "--url", service.url)
        assert "\\u202e" in seen
        assert "\u202e" not in seen
        assert json.loads(seen)["label"] == LABEL
        assert LABEL in mldeploy(*command, "--url", service.url).stdout


def test_json_of_jobs_on_a_terminal_is_a_line_each(service: Service) -> None:
    for number in range(2):
        Client(service.url).predict(FLOWER, label=f"json-{number}").wait(30)
    status, seen = on_a_terminal("jobs", "--limit", "2", "--json", "--url", service.url)
    assert (status, [json.loads(line)["label"] for line in seen.splitlines()]) == (0, ["json-1", "json-0"])
