"""schemathesis briefly: every response conforms to OpenAPI. ``python -m tests.conformance`` runs it at length."""

from collections.abc import Iterator

import pytest

from tests.conformance import Target, run, target

# The kind of caller, phases with one example of an operation in each, and how many cases there are at least.
BRIEFLY = [
    pytest.param("nobody", "fuzzing", 30, id="nobody"),
    pytest.param("admin", "examples,fuzzing", 100, id="admin"),
    pytest.param("predict", "examples,fuzzing,stateful", 60, id="predict", marks=pytest.mark.slow),
    pytest.param("admin", "coverage,stateful", 1000, id="admin-coverage", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("conformance")) as running:
        yield running


@pytest.mark.parametrize(("caller", "phases", "least"), BRIEFLY)
def test_every_answer_is_as_openapi_says(service: Target, caller: str, phases: str, least: int) -> None:
    done = run(service, caller, 1, "--phases", phases)
    assert done.status == 0, done.output
    assert done.cases >= least, done.output
