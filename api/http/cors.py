"""Which pages of other origins may call (`MLDEPLOY_CORS_ORIGINS`), by flask-cors, and with its meaning of origins."""

import re
from functools import lru_cache

from flask_cors.core import (
    ACL_REQUEST_HEADER_PRIVATE_NETWORK,
    ACL_REQUEST_HEADERS,
    ACL_REQUEST_METHOD,
    DEFAULT_OPTIONS,
    get_cors_headers,
    probably_regex,
    serialize_options,
    try_match_any_pattern,
)
from werkzeug.datastructures import Headers as WerkzeugHeaders

from api.server.headers import Headers
from settings import BadSettings

REQUEST_HEADERS = ("Origin", ACL_REQUEST_METHOD, ACL_REQUEST_HEADERS, ACL_REQUEST_HEADER_PRIVATE_NETWORK)
EXPOSED = ["Location", "Retry-After"]  # a page must read these to follow a job
ALL = ("*", ".*")
FOREIGN = ("http://origin.invalid", "https://origin.invalid")  # no page has these (RFC 6761), and only a pattern for all matches
MAX_CACHED = 100  # different combinations of request headers, each of which may be as large as a head

Pairs = list[tuple[str, str]]


class Cors:
    """``origins``: separated by commas; each is an origin, a regular expression, or * for all. Empty: CORS is off. Raises
    BadSettings."""

    def __init__(self, origins: str) -> None:
        patterns = [_pattern(each.strip()) for each in origins.split(",") if each.strip()]
        self._is_on = bool(patterns)
        self._options = serialize_options({**DEFAULT_OPTIONS, "origins": patterns, "expose_headers": EXPOSED})
        self._headers = lru_cache(MAX_CACHED)(self._compute_headers)
        self._matches_all = any(map(self._matches, FOREIGN))

    def headers(self, method: str, request_headers: Headers) -> Pairs:
        """The headers of the response."""
        if not self._is_on:
            return []
        values = tuple(request_headers.get(name.lower()) for name in REQUEST_HEADERS)
        return list(self._headers(method, values))

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call without a key, or with credentials that a browser sends by itself. If all
        origins match, none may, since any page could use a service that answers this machine alone."""
        return not self._matches_all and self._matches(origin)

    def _matches(self, origin: str) -> bool:
        return self._is_on and try_match_any_pattern(origin, self._options.origins, caseSensitive=False)

    def _compute_headers(self, method: str, values: tuple[str | None, ...]) -> Pairs:
        sent = {name: value for name, value in zip(REQUEST_HEADERS, values, strict=True) if value is not None}
        headers = get_cors_headers(self._options, WerkzeugHeaders(sent), method)
        return [(name, str(value)) for name, value in headers.items(multi=True)]


def _pattern(origin: str) -> str | re.Pattern[str]:
    """A regular expression must match the whole origin; flask-cors would let it match the beginning, as of
    `https://shop.example.evil.example`."""
    if origin in ALL or not probably_regex(origin):
        return origin
    try:
        re.compile(origin)  # by itself, since parentheses might pair with those around it
        return re.compile(rf"(?:{origin})\Z", re.IGNORECASE)
    except re.error as error:
        raise BadSettings(f"MLDEPLOY_CORS_ORIGINS: {origin} is no regular expression ({error})") from None
