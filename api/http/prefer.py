"""The Prefer header (RFC 7240): how long a client wants to wait for the end of its job."""

from typing import NamedTuple

from werkzeug.http import parse_list_header

from api.http.body import cached_by_text
from api.http.context import api_context


class Preference(NamedTuple):
    """``wait``: seconds, None if the header has none."""

    wait: int | None = None
    respond_async: bool = False

    def seconds(self, max_seconds: float) -> float:
        """Seconds for which the response is held. A longer wait than ``max_seconds`` is cut, not refused."""
        return min(self.wait or 0, max_seconds)

    def applied(self, seconds: float, final: bool) -> list[tuple[str, str]]:
        """The Preference-Applied header: ``seconds`` is how long the response was held, ``final`` whether the job has ended."""
        met = [f"wait={seconds:.0f}"] if seconds else []
        if self.respond_async and not final:
            met.append("respond-async")
        return [("Preference-Applied", ", ".join(met))] if met else []


NO_PREFERENCE = Preference()


def preferred() -> Preference:
    """Reads all Prefer headers of the request together."""
    headers = api_context().headers
    return _read(", ".join(headers.get_all("prefer"))) if "prefer" in headers else NO_PREFERENCE


@cached_by_text
def _read(prefer: str) -> Preference:
    """Names are case-insensitive, the first of two equal names counts, and parameters are ignored."""
    values: dict[str, str] = {}
    for each in parse_list_header(prefer):
        name, _, value = each.partition(";")[0].partition("=")
        values.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = values.get("wait", "")
    return Preference(int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None, "respond-async" in values)
