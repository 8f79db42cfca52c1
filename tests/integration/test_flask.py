"""The application under Flask's own test client, with a real Redis and real workers."""

import threading
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

import api
from api.app import create_app
from api.application import Application
from settings import BadSettings, Settings
from tests.operators import nested
from tests.poison import row
from tests.processes import Pieces, until


@pytest.fixture
def app(shared: Pieces) -> Iterator[Application]:
    made = create_app(shared.settings)
    yield made
    made.close()


@pytest.fixture
def client(app: Application) -> FlaskClient:
    return app.test_client()


def test_health_answers(client: FlaskClient) -> None:
    answer = client.get("/health/live")
    assert (answer.status_code, answer.json) == (200, {"status": "live"})


def test_a_prediction_is_submitted_and_its_result_read(client: FlaskClient) -> None:
    submitted = client.post("/predict?model=poison", json=row(1))
    assert submitted.status_code == 202
    result = client.get(f"{submitted.headers['Location']}?wait=20")
    assert result.status_code == 200
    assert result.get_json()["status"] == "succeeded"


def test_a_prediction_is_waited_for(client: FlaskClient) -> None:
    answer = client.post("/predict?model=poison", json=row(2), headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")


def test_a_stream_of_events_ends_with_the_job(client: FlaskClient) -> None:
    submitted = client.post("/predict?model=poison", json=row(3)).get_json()
    stream = client.get(submitted["result_url"], headers={"Accept": "text/event-stream"})
    assert stream.mimetype == "text/event-stream"
    assert "event: succeeded" in stream.get_data(as_text=True)


def test_without_keys_other_machines_are_refused_whatever_their_host_header(client: FlaskClient) -> None:
    elsewhere = {"REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "localhost"}
    assert client.get("/models", environ_overrides=elsewhere).status_code == 401
    assert client.get("/models").status_code == 200


def test_hooks_that_come_after_the_first_request_are_refused_as_in_any_flask_application(
    app: Application, client: FlaskClient
) -> None:
    client.get("/health/live")
    with pytest.raises(AssertionError, match="before_request"):
        app.before_request(lambda: None)


def test_application_connects_only_at_the_first_request() -> None:
    create_app(Settings(redis_url="redis://127.0.0.1:1")).close()


def test_application_that_cannot_be_loaded_is_reported() -> None:
    for setting, message in (
        ("nowhere.at_all:make", "No module named 'nowhere'"),
        ("tests.operators:nothing", "has no attribute 'nothing'"),
        ("tests.operators:forgetful", "has to return the application"),
    ):
        with pytest.raises(BadSettings, match=f"MLDEPLOY_APP={setting}.*{message}"):
            create_app(Settings(redis_url="redis://127.0.0.1:1", app=setting))


def test_the_package_offers_the_factory_to_flask_and_gunicorn() -> None:
    assert api.create_app is create_app
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = api.nothing


def test_a_request_within_a_hook_leaves_the_outer_one_as_it_was(shared: Pieces) -> None:
    app = create_app(shared.settings)
    nested(app)
    try:
        assert "models" in app.test_client().get("/models").get_json()
    finally:
        app.close()


def test_closing_ends_what_waits(app: Application, client: FlaskClient) -> None:
    job = client.post("/predict?model=poison", json=row(4, "work", seconds=20.0)).get_json()
    waiting = threading.Thread(target=lambda: client.get(f"{job['result_url']}?wait=30"), daemon=True)
    waiting.start()
    until(lambda: app.waiting > 0, 10, "it waits")
    app.close()
    waiting.join(15)
    assert not waiting.is_alive()


def test_a_forwarded_request_is_not_from_this_machine(client: FlaskClient) -> None:
    assert client.get("/models", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 401
