"""The commands that wait for, find, follow and cancel jobs, and use keys."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mldeploy import Client, JobFailed
from tests.commands import mldeploy, on_a_terminal
from tests.poison import row, with_poison
from tests.processes import ROOT, until
from tests.service import Service
from tests.suspended import nobody_trains
from tests.terminal import screen

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}


@pytest.mark.slow
def test_a_job_is_found_by_its_label_as_lines_and_as_a_table(service: Service) -> None:
    for command in ("predict", json.dumps(FLOWER)), ("train", "--promote", "never"):
        completed = mldeploy(*command, "--label", "cli-label", "--expires-in", "600", "--url", service.url)
        assert json.loads(completed.stdout)["label"] == "cli-label", completed.stderr
        assert json.loads(completed.stdout)["expires_at"]
    listed = mldeploy("jobs", "--label", "cli-label", "--url", service.url)
    jobs = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(job["kind"], job["status"]) for job in jobs] == [("train", "succeeded"), ("predict", "succeeded")]
    assert mldeploy("jobs", "--label", "cli-label", "--limit", "1", "--url", service.url).stdout.count("\n") == 1
    assert mldeploy("jobs", "--label", "cli-label", "--status", "failed", "--url", service.url).stdout == ""
    status, seen = on_a_terminal("jobs", "--label", "cli-label", "--kind", "predict", "--url", service.url)
    heading, row = screen(seen, 120)
    assert status == 0
    assert heading.split() == ["ID", "KIND", "MODEL", "STATUS", "LABEL", "CREATED", "ROWS"]
    assert row.split()[:1] + row.split()[3:5] == [jobs[1]["id"], "succeeded", "cli-label"]
    assert row.index("succeeded") == heading.index("STATUS")


def test_watch_prints_one_line_per_event_and_ends_like_result(service: Service) -> None:
    job = Client(service.url).train(model="iris", estimator="RandomForestClassifier", search=2, promote="never")
    completed = mldeploy("watch", job.id, "--url", service.url)
    events = [json.loads(line) for line in completed.stdout.splitlines()]
    assert completed.returncode == 0, completed.stderr
    assert events[-1]["event"] == "succeeded"
    assert events[-1]["data"]["result"]["model"]["name"] == "iris"
    assert "progress" in {event["event"] for event in events}
    failing = Client(service.url).train(b"a,b\n" + b"1,x\n2,x\n" * 20, model="cli-failing")
    completed = mldeploy("watch", failing.id, "--url", service.url)
    assert (completed.returncode, json.loads(completed.stdout.splitlines()[-1])["event"]) == (1, "failed")
    assert "fewer than two classes" in completed.stderr
    status, seen = on_a_terminal("watch", job.id, "--url", service.url)
    assert status == 0
    assert '"status": "succeeded"' in seen


def test_watch_on_a_terminal_shows_the_queue_position(service: Service) -> None:
    with nobody_trains(service):
        first, second = (Client(service.url).train(model="iris", promote="never") for _ in range(2))
        status, seen = on_a_terminal(
            "watch", second.id, "--url", service.url, shown=lambda seen: "1 before it" in seen and second.cancel()
        )
        first.cancel()
    assert status == 1
    assert f"job {second.id} queued, 1 before it" in seen
    assert "the job was canceled" in seen.lower()


def test_ctrl_c_says_how_to_go_on(service: Service) -> None:
    with nobody_trains(service):
        job = Client(service.url).train(model="iris", promote="never")
        command = [sys.executable, "-m", "mldeploy", "watch", job.id, "--url", service.url]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "queued"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert f"mldeploy cancel {job.id}" in said
        job.cancel()


def test_cancel_takes_many_and_reports_each(service: Service) -> None:
    with nobody_trains(service):
        first, second = (Client(service.url).train(model="iris", promote="never") for _ in range(2))
        completed = mldeploy("cancel", first.id, "0" * 40, second.id, "--url", service.url)
        assert completed.returncode == 1
        assert [json.loads(line)["status"] for line in completed.stdout.splitlines()] == ["canceled", "canceled"]
        assert f"{'0' * 40}: There never was such a job" in completed.stderr
        assert on_a_terminal("cancel", first.id, "--url", service.url) == (0, f"{first.id} canceled\r\n")
    assert mldeploy("result", first.id, "--url", service.url).returncode == 1


def test_cancel_waits_until_a_running_job_has_stopped(service: Service) -> None:
    job = Client(service.url).train(model="iris", estimator="RandomForestClassifier", search=120, promote="never")
    until(lambda: job.reload().status == "running", 30, "it runs")
    completed = mldeploy("cancel", job.id, "--wait", "--url", service.url)
    assert (completed.returncode, json.loads(completed.stdout)["status"]) == (0, "canceled"), completed.stderr


def test_cancel_requests_all_before_it_waits_for_one(service: Service) -> None:
    with_poison(service)
    slow, other = (Client(service.url).predict(row(1, seconds=3), model="poison") for _ in range(2))
    until(lambda: slow.reload().status == "running", 20, "the first one runs")
    done = mldeploy("cancel", slow.id, other.id, "--wait", "--timeout", "0.2", "--url", service.url)
    assert done.returncode == 2
    with pytest.raises(JobFailed, match="canceled"):
        other.wait(20)


def test_the_webhook_secret_alone_is_printed(service: Service) -> None:
    secret = mldeploy("webhook-secret", "--url", service.url).stdout
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]+\n", secret)
    rotated = mldeploy("webhook-secret", "--rotate", "--url", service.url).stdout
    assert secret != rotated == mldeploy("webhook-secret", "--url", service.url).stdout


@pytest.mark.slow
def test_key_is_required_sent_and_checked_for_scope(tmp_path: Path) -> None:
    keyed = Service(tmp_path / "home")
    try:
        created = mldeploy("keys", "create", "--name", "app", "--scopes", "predict", "--home", str(keyed.home))
        key = created.stdout.splitlines()[-1]
        flower = json.dumps(FLOWER)
        refused = mldeploy("predict", flower, "--url", keyed.url)
        assert refused.returncode == 1
        assert "mldeploy keys create" in refused.stderr
        assert mldeploy("predict", flower, "--url", keyed.url, MLDEPLOY_API_KEY=key).returncode == 0
        assert mldeploy("predict", flower, "--url", keyed.url, "--api-key", key).returncode == 0
        assert mldeploy("models", "--api-key", key, "--url", keyed.url, "show", "iris").returncode == 0
        forbidden = mldeploy("models", "--url", keyed.url, "rollback", "iris", "--api-key", key)
        assert forbidden.returncode == 1
        assert "--scopes" in forbidden.stderr
    finally:
        keyed.stop()
