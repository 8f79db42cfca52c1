"""Prefer (RFC 7240): how long a client would wait for the end of its job."""

from typing import NamedTuple

from werkzeug.http import parse_list_header

from api.http.body import remembered
from api.http.context import api_context


class Preference(NamedTuple):
    """``wait``: seconds, None if nothing was said of them."""

    wait: int | None = None
    respond_async: bool = False

    def seconds(self, most: float) -> float:
        """For which the answer is to be held; what cannot be met is no error."""
        return min(self.wait or 0, most)

    def applied(self, seconds: float, final: bool) -> list[tuple[str, str]]:
        """The header that tells what was done: held for so many seconds, and answered with a job that is final or not."""
        met = [f"wait={seconds:.0f}"] if seconds else []
        if self.respond_async and not final:
            met.append("respond-async")
        return [("Preference-Applied", ", ".join(met))] if met else []


NONE = Preference()


def preferred() -> Preference:
    """Of all the request's lines together."""
    headers = api_context().headers
    return _read(", ".join(headers.get_all("prefer"))) if "prefer" in headers else NONE


@remembered
def _read(prefer: str) -> Preference:
    """Names in any case; of a preference that comes twice the first counts, and parameters are not looked at."""
    given: dict[str, str] = {}
    for each in parse_list_header(prefer):
        name, _, value = each.partition(";")[0].partition("=")
        given.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = given.get("wait", "")
    return Preference(int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None, "respond-async" in given)
