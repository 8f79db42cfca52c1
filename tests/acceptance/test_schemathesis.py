"""schemathesis briefly: every response conforms to OpenAPI. ``python -m tests.conformance`` runs it at length."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.conformance import Run, run, target

# By the kind of caller: phases, examples of an operation in each, and how many cases there are at least.
BRIEFLY = {
    "nobody": ("fuzzing", 1, 30),
    "predict": ("examples,fuzzing,stateful", 1, 60),
    "admin": ("examples,coverage,fuzzing,stateful", 1, 1000),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """Run all callers at the same time: most of the time is that of schemathesis."""
    with target(tmp_path_factory.mktemp("conformance")) as service, ThreadPoolExecutor(len(BRIEFLY)) as pool:
        yield {
            caller: pool.submit(run, service, caller, examples, "--phases", phases)
            for caller, (phases, examples, _) in BRIEFLY.items()
        }


@pytest.mark.parametrize("caller", BRIEFLY)
def test_every_answer_is_as_openapi_says(runs: dict[str, Future[Run]], caller: str) -> None:
    done = runs[caller].result(300)
    assert done.status == 0, done.output
    assert done.cases >= BRIEFLY[caller][2], done.output
