"""The application under Flask's own test client, with no server of ours: a real Redis and real workers behind it."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.application import Application
from tests.processes import Pieces


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
