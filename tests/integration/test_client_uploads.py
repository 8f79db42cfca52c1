"""The client reports how much of a table it has sent."""

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from mldeploy import Client
from tests.proxy import BUFFER, Proxy, first_of
from tests.service import Service


def test_reports_run_from_nothing_to_the_whole_table(service: Service) -> None:
    reports: list[tuple[int, int]] = []
    table = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n % 3) for n in range(20_000))
    client = Client(service.url, on_upload=lambda *report: reports.append(report))
    assert client.add_rows("reported", table).wait(60)["rows"] == 20_000
    assert (reports[0], reports[-1]) == ((0, len(table)), (len(table), len(table)))
    assert len(reports) > 5
    assert all(earlier[0] < later[0] for earlier, later in pairwise(reports))


def test_table_is_sent_whole_again_after_a_lost_reply(service: Service) -> None:
    reports: list[tuple[int, int]] = []
    table = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n % 3) for n in range(10_000))
    with Proxy(service.settings.port, drop=first_of("POST")) as proxy:
        client = Client(proxy.url, on_upload=lambda *report: reports.append(report))
        assert client.add_rows("sent-again", table).wait(60)["rows"] == 10_000
    assert reports.count((0, len(table))) == reports.count((len(table), len(table))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("on_upload", [None, lambda *_: None])
def test_time_out_is_not_for_the_whole_of_a_table(service: Service, on_upload: Callable[[int, int], None] | None) -> None:
    table, timeout = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n % 3) for n in range(900_000)), 4.0
    with Proxy(service.settings.port, pause=BUFFER / 1_000_000) as proxy:  # a line of 1 MB a second
        client, since = Client(proxy.url, timeout=timeout, retry_for=0.0, on_upload=on_upload), time.monotonic()
        job = client.add_rows("slow-line", table)
        assert time.monotonic() - since > timeout
    Client(service.url).cancel(job.id)
