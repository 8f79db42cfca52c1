"""What people see who run the commands on a terminal: the job while they wait, and notices above it."""

import json
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mldeploy import Client
from tests.commands import mldeploy, on_a_terminal
from tests.processes import free_port, until
from tests.proxy import Proxy
from tests.service import Service
from tests.suspended import nobody_trains
from tests.terminal import screen, screens

COLOR = re.compile(r"\x1b\[(?:[\d;]*;)?[34]\d[\d;]*m")
BAR = r"search ━*╺?╸?━+ +\d+/\d+"
PACE = r"\d+\.\d steps/s \d:\d\d:\d\d left"


def test_terminal_shows_the_job_while_it_runs_and_only_its_json_in_the_end(service: Service) -> None:
    status, seen = on_a_terminal("train", "--estimator", "RandomForestClassifier", "--url", service.url)
    left = screen(seen, 120)
    job = json.loads("\n".join(left[: left.index("}") + 1]))
    assert (status, job["status"]) == (0, "succeeded")
    assert re.fullmatch(r"version \d+ (serves|does not serve): .*", " ".join(left[left.index("}") + 1 :]))
    lines = {line for lines in screens(seen, 120) for line in lines}
    assert any(re.fullmatch(rf"⠋ job {job['id']} (queued|queued, next in line|running) 0:00:0\d", line) for line in lines)


@pytest.mark.parametrize("columns", [80, 40])
def test_search_shows_a_bar_with_its_pace_and_the_time_left(service: Service, columns: int) -> None:
    job = Client(service.url).train(model="iris", estimator="RandomForestClassifier", search=8, promote="never")
    status, seen = on_a_terminal("watch", job.id, "--url", service.url, columns=columns)
    assert status == 0
    bars = [shown[-1] for shown in screens(seen, columns) if len(shown) > 1]
    assert any(re.fullmatch(BAR, bar) for bar in bars), "before there is a pace"
    assert any(re.fullmatch(f"{BAR} {PACE}", bar) for bar in bars)
    assert screen(seen, columns)[0] == "{", "the bar has been removed"


def test_notices_are_whole_lines_above_the_job(service: Service) -> None:
    proxy = Proxy(service.settings.port)
    with nobody_trains(service):
        job = Client(service.url).train(model="iris", promote="never")
        steps = iter([("next in line", proxy.close), ("trying again", lambda: Proxy(service.settings.port, port=proxy.port))])
        shown = _once_each([*steps, ("answers again", job.cancel)])
        status, seen = on_a_terminal("watch", job.id, "--url", proxy.url, shown=shown)
    left = screen(seen, 120)
    assert status == 1
    assert re.fullmatch(rf"{proxy.url}: .*; trying again for 60 s", left[0])
    assert re.fullmatch(rf"{proxy.url} answers again after \d+ s", left[1])
    assert left[2] == "{"
    below = {shown[1][2:].rpartition(" ")[0] for shown in screens(seen, 120) if len(shown) == 2 and shown[0] == left[0]}
    assert f"job {job.id} queued, next in line" in below


def _once_each(steps: list[tuple[str, Callable[[], object]]]) -> Callable[[str], None]:
    """Return a callback that does each step when its text has been seen, one after the other."""

    def shown(seen: str) -> None:
        if steps and steps[0][0] in seen:
            steps.pop(0)[1]()

    return shown


def test_notice_is_one_line_however_narrow_the_terminal() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    command = "jobs", "--url", url, "--retry-for", "1"
    status, seen = on_a_terminal(*command, columns=40)
    assert status == 2
    for output in seen, mldeploy(*command, COLUMNS="40").stderr:
        assert output.splitlines()[0] == f"{url}: no connection; trying again for 1 s"


def test_pipe_gets_nothing_of_the_job_whatever_colors_are_forced(service: Service) -> None:
    completed = mldeploy("train", "--promote", "never", "--url", service.url, FORCE_COLOR="1", TTY_COMPATIBLE="1")
    assert (completed.returncode, completed.stderr, completed.stdout.count("\n")) == (0, "", 1)


def test_no_color_is_obeyed(service: Service) -> None:
    for no_color in "", "1":
        status, seen = on_a_terminal("train", "--promote", "never", "--url", service.url, NO_COLOR=no_color)
        assert (status, bool(COLOR.search(seen))) == (0, not no_color)


def test_dumb_terminal_gets_no_escape_sequences(service: Service) -> None:
    for command in ("train", "--promote", "never"), ("jobs",), ("models",):
        status, seen = on_a_terminal(*command, "--url", service.url, TERM="dumb")
        assert status == 0
        assert "\x1b" not in seen


def test_events_into_a_file_leave_the_terminal_alone(service: Service) -> None:
    """What a pipe's reader prints may reach the terminal, where live lines would overwrite it."""
    with nobody_trains(service), tempfile.TemporaryFile() as file, ThreadPoolExecutor(1) as pool:
        job = Client(service.url).train(model="iris", promote="never")
        watching = pool.submit(on_a_terminal, "watch", job.id, "--url", service.url, stdout=file.fileno())
        until(lambda: os.fstat(file.fileno()).st_size, 20, "the first event has been written")
        job.cancel()
        status, seen = watching.result(30)
        file.seek(0)
        events = [json.loads(line)["event"] for line in file]
    assert (status, events) == (1, ["queued", "canceled"])
    assert "\x1b" not in seen
    assert len(seen.splitlines()) == 1
    assert "the job was canceled" in seen.lower()


def test_upload_of_a_large_table_is_shown(service: Service, tmp_path_factory: pytest.TempPathFactory) -> None:
    table = tmp_path_factory.mktemp("tables") / "large.csv"
    table.write_text("a,b,level\n" + "".join(f"{n},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(150_000)))
    status, seen = on_a_terminal("datasets", "add", "large", str(table), "--url", service.url)
    assert status == 0, seen
    lines = {line for shown in screens(seen, 120) for line in shown}
    assert any(re.fullmatch(r". sending ━*╺?╸?━+ 0\.0/\d\.\d MB .*", line) for line in lines)
    assert any(re.fullmatch(r". sending ━+ (\d\.\d)/\1 MB \d+\.\d [kMG]B/s 0:00:00", line) for line in lines)
    assert screen(seen, 120)[0] == "{"
