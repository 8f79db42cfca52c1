"""POST /train over real HTTP, against `mldeploy up`: what is accepted, and the results."""

import pytest

from mldeploy.client import Client
from tests.integration.test_api import FLOWER, JSON, TABLE, post, problem
from tests.service import Service


def test_training_answers_with_its_metrics_and_verdict(client: Client) -> None:
    client.predict(FLOWER).wait(60)
    result = client.train(estimator="GaussianNB").wait(60)
    assert {"model", "metrics", "champion_metrics", "promoted", "reason"} <= set(result)
    assert result["metrics"]["rows"] == result["champion_metrics"]["rows"] == int(TABLE.in_test.sum())
    assert 0.8 < result["metrics"]["accuracy"] <= 1


def test_a_csv_makes_a_new_model_with_a_schema_of_its_own(service: Service, client: Client) -> None:
    lines = "\n".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}" for n in range(200))
    result = client.train(f"a,b,level\n{lines}\n".encode(), model="levels", target="level").wait(60)
    assert (result["promoted"], result["metrics"]["accuracy"]) == (True, 1.0)
    assert client.predict({"a": 6, "b": 1}, model="levels").wait(30)["prediction"] == "high"
    assert client.model("levels")["schema"]["required"] == ["a", "b"]
    assert problem(post(service, "/predict?model=levels", json=FLOWER))["errors"]
    again = client.train(model="levels").wait(60)
    assert (again["model"]["version"], again["promoted"]) == (2, False)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"a;b\n1;2\n1;2;3\n", "delimiter=;"),
        (b"5.1,3.5,1.4,setosa\n4.9,3.0,1.4,setosa\n", "no header"),
        (b",".join(b"c%d" % n for n in range(5000)) + b"\n" + b"1," * 4999 + b"x\n", "5,000 columns"),
        (b"a\n1\n", "at least one feature"),
        (b"a,a,b\n1,2,3\n", "name of its own"),
        (b"a,,b\n1,2,3\n", "name of its own"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,\x00\n", "NUL"),
        (b"a,b\n1,\xe9\n", "UTF-8"),
    ],
)
def test_visibly_bad_csv_is_refused_at_the_door(service: Service, body: bytes, says: str) -> None:
    answer = post(service, "/train?model=bad", data=body, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 422
    assert says in problem(answer)["detail"]


def test_a_csv_that_turns_out_bad_fails_its_job_with_the_reason(client: Client) -> None:
    job = client.train(b"a,b\n" + b"1,x\n2,x\n" * 20, model="bad")
    with pytest.raises(Exception, match="two classes"):
        job.wait(60)
    assert job.error is not None
    assert job.error["type"].endswith("bad-training-data")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"estimater": "GaussianNB"}', ""),
        ('{"estimator": "Oracle"}', "/estimator"),
        ('{"promote": "perhaps"}', "/promote"),
        ('{"model": "../x"}', "/model"),
        ('{"model": 3}', "/model"),
        ('{"model": "iris", "model": "wine"}', ""),
        ('{"estimator": "GaussianNB", "params": {"var_smoothin": 1}}', "/params/var_smoothin"),
        ('{"estimator": "GaussianNB", "params": {"priors": {"a": 1}}}', "/params/priors"),
        ('{"params": {"max_depth": 1}}', "/params"),
        ('{"estimator": "Ridge", "task": "classification"}', "/task"),
        ('{"test_share": 0.9}', "/test_share"),
        ('{"confidence": 1}', "/confidence"),
        ('{"search": -1}', "/search"),
        ("[]", ""),
    ],
)
def test_train_options_are_checked_at_the_door(service: Service, body: str, pointer: str) -> None:
    answer = post(service, "/train", data=body, headers=JSON)
    assert answer.status_code == 422
    assert problem(answer)["errors"][0]["pointer"] == pointer


def test_an_empty_body_of_any_type_retrains_the_default_model(service: Service, client: Client) -> None:
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = post(service, "/train", headers=headers)
        assert (answer.status_code, answer.json()["model"]["name"]) == (202, "iris")
        client.result(answer.json()["id"]).wait(60)


def test_a_csv_that_names_no_model_must_look_like_the_default_one(service: Service) -> None:
    answer = post(service, "/train?target=level", data=b"a,b,level\n1,2,low\n", headers={"Content-Type": "text/csv"})
    assert "give model=" in problem(answer)["detail"]


def test_unknown_model_cannot_be_retrained_without_rows(service: Service) -> None:
    answer = post(service, "/train", json={"model": "unheard-of"})
    assert answer.status_code == 404
    assert "send a table" in problem(answer)["detail"]
