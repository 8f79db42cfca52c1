"""The command line and the client, as people use them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import requests

from mldeploy import Client, JobFailed, Problem
from tests.commands import mldeploy
from tests.processes import free_port
from tests.service import Service
from tests.suspended import nobody_trains

FLOWER = {"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3}


def test_predict_takes_json_a_file_or_standard_input(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "flower.json"
    file.write_text(json.dumps([FLOWER]))
    for argument, stdin in ((json.dumps(FLOWER), ""), (str(file), ""), ("-", json.dumps(FLOWER))):
        completed = mldeploy("predict", argument, "--url", service.url, stdin=stdin)
        assert completed.returncode == 0, completed.stderr
        assert "setosa" in json.dumps(json.loads(completed.stdout)["result"])


def test_piped_output_is_one_line_of_json(service: Service) -> None:
    completed = mldeploy("predict", json.dumps(FLOWER), "--proba", "--url", service.url)
    assert completed.stdout.count("\n") == 1
    assert completed.stderr == ""
    assert json.loads(completed.stdout)["result"]["probabilities"]["setosa"] > 0.5


def test_no_wait_prints_the_job_and_result_shows_it(service: Service) -> None:
    job = json.loads(mldeploy("predict", json.dumps(FLOWER), "--no-wait", "--url", service.url).stdout)
    assert job["status"] == "queued"
    shown = json.loads(mldeploy("result", job["id"], "--url", service.url).stdout)
    assert shown["result"]["prediction"] == "setosa"
    assert "has succeeded already" in mldeploy("cancel", job["id"], "--url", service.url).stderr


def test_train_and_models(service: Service, tmp_path: Path) -> None:
    csv = tmp_path / "levels.csv"
    csv.write_text("a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(100)))
    completed = mldeploy("train", str(csv), "--model", "cli-levels", "--target", "level", "--url", service.url)
    assert json.loads(completed.stdout)["result"]["promoted"]
    assert "cli-levels" in {model["name"] for model in json.loads(mldeploy("models", "--url", service.url).stdout)}
    assert json.loads(mldeploy("models", "cli-levels", "--url", service.url).stdout)["aliases"] == {"champion": 1}


def test_a_file_is_predicted_row_by_row(service: Service, tmp_path: Path) -> None:
    lines = [json.dumps(FLOWER), json.dumps({**FLOWER, "petal_length": 5.4, "petal_width": 2.3})]
    for name, text in (("flowers.ndjson", "\n".join(lines)), ("flowers.json", f"[{','.join(lines)}]")):
        (tmp_path / name).write_text(text)
        job = json.loads(mldeploy("predict", str(tmp_path / name), "--url", service.url).stdout)
        assert [each["prediction"] for each in job["result"]["predictions"]] == ["setosa", "virginica"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("predict", '{"sepal_length": "long"}'), "/sepal_length: expected a number, got text"),
        (("predict", "{not json"), "takes JSON, and this is not"),
        (("predict", "/no/such/file"), "neither JSON nor a file"),
        (("result", "0" * 40), "No job here has ever had this id"),
        (("models", "unheard-of"), "no model unheard-of"),
        (("predict", '{"sepal_length": NaN}'), "/sepal_length: expected a number, got null"),
        (("train", "--estimator", "SVCs"), "did you mean SVC"),
        (("train", "--estimator", "SVC", "--params", '{"c": 1}'), "/params/c: SVC has no such parameter"),
        (("train", "--params", "C=1"), "--params takes JSON"),
        (("train", "--model", "unheard-of"), "send a table"),
        (("models", "rollback", "unheard-of"), "no model unheard-of"),
        (("models", "promote", "unheard-of", "3"), "no model unheard-of"),
        (("datasets", "unheard-of"), "no data set unheard-of"),
    ],
)
def test_errors_say_what_is_wrong(service: Service, arguments: tuple[str, ...], says: str) -> None:
    completed = mldeploy(*arguments, "--url", service.url)
    assert completed.returncode != 0
    assert says in completed.stderr
    assert "Traceback" not in completed.stderr


def test_failed_job_is_shown_with_exit_status_1(service: Service, tmp_path: Path) -> None:
    csv = tmp_path / "bad.csv"
    csv.write_text("a,b\n" + "1,x\n2,x\n" * 20)
    for completed in (mldeploy("train", str(csv), "--model", "cli-bad", "--url", service.url),):
        assert completed.returncode == 1
        job = json.loads(completed.stdout)
        assert job["status"] == "failed"
        assert "fewer than two classes" in completed.stderr
    assert mldeploy("result", job["id"], "--no-wait", "--url", service.url).returncode == 1
    assert json.loads(mldeploy("models", "cli-bad", "--url", service.url).stdout)["versions"] == []


def test_missing_service_and_bad_settings_give_one_line() -> None:
    nobody = mldeploy("models", "--url", f"http://127.0.0.1:{free_port()}")
    assert "mldeploy up" in nobody.stderr
    assert "MLDEPLOY_PORT" in mldeploy("up", "--port", "0").stderr
    for completed, status in (nobody, 2), (mldeploy("up", "--port", "0"), 1):
        assert completed.returncode == status
        assert "Traceback" not in completed.stderr


COMMANDS = ["", "up", "demo", "predict", "train", "result", "cancel", "models", "datasets", "models show", "models promote"]
COMMANDS += ["jobs", "watch", "webhook-secret", "datasets add"]
ON_THE_SERVER = ["models rollback", "models import", "models export", "models refit", "models delete", "datasets delete"]


@pytest.mark.parametrize("command", [*COMMANDS, *ON_THE_SERVER])
def test_help_answers(command: str) -> None:
    completed = mldeploy(*command.split(), "--help")
    assert completed.returncode == 0
    assert len(completed.stdout) > 100


def test_client_distinguishes_problems_failures_and_timeouts(service: Service) -> None:
    client = Client(service.url)
    frame = pd.DataFrame([FLOWER, FLOWER], dtype="float32")
    assert len(client.predict(frame).wait(30)["predictions"]) == 2
    assert client.predict(frame.iloc[0]).wait(30)["prediction"] == "setosa"
    with pytest.raises(Problem) as refused:
        client.predict({"sepal_length": 1.0})
    assert (refused.value.status, len(refused.value.errors)) == (422, 3)
    failing = client.train(b"a,b\n" + b"1,x\n2,x\n" * 20, model="failing")
    with pytest.raises(JobFailed) as failed:
        failing.wait(60)
    assert failed.value.job is failing
    with nobody_trains(service), pytest.raises(TimeoutError, match="after 1 s"):
        client.train().wait(1)
    job = client.predict([FLOWER, FLOWER])
    assert [each["prediction"] for each in job.wait(30)["predictions"]] == ["setosa", "setosa"]
    assert job.done
    assert client.result(job.id).result == job.result


def test_client_code_of_the_usual_tutorial_works(service: Service) -> None:
    url = f"{service.url}/predict"
    data = json.dumps({"sepal_length": 5.0, "sepal_width": 3.2, "petal_length": 1.5, "petal_width": 0.3})
    submitted = requests.post(url, data, timeout=10).json()
    assert (
        requests.get(service.url + submitted["result_url"], {"wait": 30}, timeout=40).json()["result"]["prediction"] == "setosa"
    )
    assert (
        requests.post(url, json=json.loads(data), headers={"Prefer": "wait=30"}, timeout=40).json()["result"]["prediction"]
        == "setosa"
    )
