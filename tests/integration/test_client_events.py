"""The client follows a job's events, also across cut streams."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from mldeploy.client import Client, Event, Problem, transport
from tests.poison import expected, row
from tests.processes import Pieces, until
from tests.proxy import Proxy
from tests.service import Service
from tests.suspended import nobody_predicts

FINAL = {"succeeded", "failed", "canceled", "expired"}
TABLE = "a,b,level\n" + "".join(f"{n % 7},{n % 5},{'high' if n % 7 > 3 else 'low'}\n" for n in range(100))


def test_events_follow_a_job_from_the_queue_to_its_end(shared: Pieces) -> None:
    service = Client(shared.url)
    with nobody_predicts(shared):
        first, second = (service.predict(row(n), model="poison") for n in range(2))
        events = second.events()
        seen = [next(events)]
        assert (seen[0].name, second.position) == ("queued", 2)
        first.cancel()
        seen.append(next(events))
        assert (seen[1].name, second.position) == ("queued", 1)
    seen += events
    assert [event.name for event in seen[2:]] in (["running", "succeeded"], ["succeeded"])
    assert second.result["prediction"] == expected(1)
    assert len({event.id for event in seen}) == len(seen)
    assert [event.name for event in second.events()] == ["succeeded"]


def test_events_of_a_training_show_its_progress(service: Service) -> None:
    job = Client(service.url).train(TABLE, model="levels-followed", target="level", search=2)
    events = list(job.events())
    assert "progress" in {event.name for event in events}
    assert all(event.data["progress"]["stage"] for event in events if event.name == "progress")
    assert job.wait(0)["promoted"]


def test_cut_stream_resumes_where_it_was(shared: Pieces) -> None:
    with Proxy(shared.settings.port) as proxy:
        with nobody_predicts(shared):
            job = Client(proxy.url).predict(row(5), model="poison")
            events = job.events()
            seen = [next(events)]
            proxy.cut()
        seen += events
        sent = [reply.header("Last-Event-ID") for reply in proxy.replies if reply.line.startswith("GET")]
    assert sent == ["", seen[0].id]
    check_stream(seen)


def test_silent_stream_is_reopened(shared: Pieces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "STREAM_TIMEOUT", 0.5)  # shorter than the heartbeat interval
    with ThreadPoolExecutor(1) as run_in_thread, Proxy(shared.settings.port) as proxy:
        with nobody_predicts(shared):
            job = Client(proxy.url).predict(row(5), model="poison")
            seen = run_in_thread.submit(list, job.events())
            until(lambda: sum("Last-Event-ID" in reply.request for reply in proxy.replies) >= 2, 20, "it was opened again, twice")
        check_stream(seen.result(30))


def check_stream(events: list[Event]) -> None:
    """Check that no event came twice and one end came last."""
    assert len({event.id for event in events}) == len(events)
    assert [event.name for event in events if event.name in FINAL] == [events[-1].name] == ["succeeded"]


def test_response_that_is_no_stream_is_an_error(shared: Pieces) -> None:
    job = Client(shared.url).predict(row(1), model="poison")
    job.answer["result_url"] = "/models"  # as when a proxy removes the header
    with pytest.raises(Problem, match="where events were requested"):
        next(job.events())
