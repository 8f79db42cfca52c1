"""Authentication: an API key is required as soon as one was ever created; before that only this machine may call.

The keys are cached until their channel announces a change, or until the subscription to the channel is lost.
"""

import asyncio
import base64
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from api.http.context import ApiContext
from api.http.operation import Access
from api.http.problems import HTTPProblem, RateLimited
from auth.keys import Key, Keys, KeySet, is_token
from auth.loopback import is_loopback
from auth.rates import Rates, headers
from jobs.async_ledger import AsyncLedger
from jobs.batcher import Batcher
from jobs.errors import LedgerUnavailable
from settings import Settings

log = logging.getLogger("mldeploy.api")

RECONNECT_INTERVAL = 0.2  # seconds before it subscribes again after the connection was lost
REREAD_INTERVAL = 0.02  # seconds between two reads of the keys that look for unknown tokens
MAX_UNKNOWN_TOKENS = 1000  # unknown tokens in one read
CHALLENGE = ("WWW-Authenticate", 'Bearer realm="mldeploy", Basic realm="mldeploy", charset="UTF-8"')
HINT = "send it as 'Authorization: Bearer mld_…'; on the server `mldeploy keys create` makes one"


class Authenticator:
    """Checks keys and rates. All methods must be called on the same event loop."""

    def __init__(self, settings: Settings, keys: Keys, rates: Rates, ledger: AsyncLedger, threads: ThreadPoolExecutor) -> None:
        self._keys = keys
        self._rates = rates
        self._ledger = ledger
        self._threads = threads
        self._own_host = settings.host
        self._insecure = settings.insecure
        self._rereads = Batcher(self._reread, MAX_UNKNOWN_TOKENS, MAX_UNKNOWN_TOKENS, REREAD_INTERVAL)
        self._key_set: KeySet | None = None  # None unless subscribed to the channel
        self._last_key_set: KeySet | None = None
        self._loading: asyncio.Task[KeySet] | None = None
        self._is_subscribed = False
        self._listener: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def authenticate(self, context: ApiContext, access: Access) -> None:
        """Sets ``context.key``. Raises HTTPProblem or LedgerUnavailable."""
        if access == "open":
            return
        key_set = self._key_set or await self._current_key_set(access == "public")
        if key_set is None:
            return
        if not key_set.closed:
            self._check_is_local(context)
            return
        context.key = await self._key(key_set, context)
        if access != "any" and access != "public" and not context.key.may(access):  # noqa: PLR1714 - narrows the type
            raise HTTPProblem("forbidden", f"The key {context.key.name} has not the scope {access}, which this takes.")

    async def spend_token(self, context: ApiContext) -> None:
        """Spends one token of the key's rate limit. Raises RateLimited or RatesUnavailable."""
        key = context.key
        if key and key.rate:
            verdict = await self._rates.take(key.id, key.rate)
            context.extra_headers = [*context.extra_headers, *headers(verdict)]
            if not verdict.allowed:
                detail = f"{verdict.quota} requests in {verdict.window} s may be made with this key."
                raise RateLimited(detail, verdict.retry_after)

    def is_valid(self, context: ApiContext) -> bool:
        """Whether the key of the request is still valid according to the latest known keys."""
        key_set = self._key_set or self._last_key_set
        return context.key is None or key_set is None or key_set.has(context.key)

    def check_is_valid(self, context: ApiContext) -> None:
        """Raises HTTPProblem if the key was revoked."""
        if not self.is_valid(context):
            raise _unauthorized("This key was revoked meanwhile")

    async def close(self) -> None:
        for task in filter(None, (self._listener, self._refreshing)):
            task.cancel()
            await asyncio.wait([task])
        await self._rates.close()

    async def _key(self, key_set: KeySet, context: ApiContext) -> Key:
        """The key of a request. For an unknown token the keys are read again, since it may be newer than the cache. Raises
        HTTPProblem."""
        token, basic = _token(context)
        key = key_set.find(token)
        if key is None and is_token(token):
            key = (await self._rereads.submit(None)).find(token)
            if key:
                self._key_set = None  # the cache is out of date
        if key is None:
            raise _unauthorized("This key is not known, or was revoked" if token else "No key came with the request")
        if basic:  # a browser sends Basic credentials by itself, also for requests that another site starts
            _check_origin(context)
        return key

    def _check_is_local(self, context: ApiContext) -> None:
        host = _host(context.headers.get("host") or "")
        if self._insecure:
            _check_origin(context)
        elif not is_loopback(self._own_host) or not context.is_local or _is_forwarded(context):
            raise _unauthorized("No key was made yet, and this is not served to this machine alone")
        elif "host" in context.headers and not is_loopback(host):
            detail = f"Without keys this is served to this machine alone, and not as {host[:100]}: {HINT}."
            raise HTTPProblem("foreign-host", detail)
        else:
            _check_origin(context)

    async def _current_key_set(self, allow_stale: bool) -> KeySet | None:
        """``allow_stale``: returns the last known keys, or None, if Redis is unavailable."""
        try:
            return await self._load()
        except LedgerUnavailable:
            if allow_stale:
                return self._last_key_set
            raise

    async def _load(self) -> KeySet:
        self._listener = self._listener or asyncio.get_running_loop().create_task(
            self._ledger.listen(self._keys.channel, self._changed, self._unsubscribed)
        )
        if self._loading is None or not self._is_subscribed:
            self._loading = asyncio.get_running_loop().create_task(self._read())
        loading = self._loading
        try:
            key_set = await asyncio.shield(loading)
        finally:
            if self._loading is loading:
                self._loading = None
        return key_set

    async def _refresh(self) -> None:
        """Reads the keys also without a new request: earlier requests may still be waiting for their responses."""
        try:
            await self._load()
        except LedgerUnavailable as error:
            log.warning("the keys could not be read: %s", error)

    async def _read(self) -> KeySet:
        this_task = asyncio.current_task()
        self._last_key_set = key_set = await asyncio.get_running_loop().run_in_executor(self._threads, self._keys.key_set)
        if self._is_subscribed and self._loading is this_task:  # no change was announced since this read began
            self._key_set = key_set
        return key_set

    async def _reread(self, requests: Sequence[None]) -> list[KeySet]:
        return [await self._read()] * len(requests)

    def _changed(self, _: bytes | None) -> None:
        self._is_subscribed, self._key_set, self._loading = True, None, None
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    def _unsubscribed(self) -> None:
        self._is_subscribed, self._key_set = False, None


def _unauthorized(reason: str) -> HTTPProblem:
    return HTTPProblem("unauthorized", f"{reason}: {HINT}.", CHALLENGE)


def _token(context: ApiContext) -> tuple[str, bool]:
    """The token of a request, and whether a browser may have sent it by itself (Basic)."""
    scheme, _, credentials = (context.headers.get("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip(), False
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2], True
        except ValueError:
            return "", True
    return context.headers.get("x-api-key") or "", False


def _check_origin(context: ApiContext) -> None:
    """Raises HTTPProblem for a page of another origin that is not allowed. Another port on the same machine is another origin."""
    origin = context.headers.get("origin")
    if origin is None or _is_own(origin, context.headers.get("host") or ""):
        return
    if not context.service.cors.allows(origin):
        raise HTTPProblem("foreign-origin", f"Pages of {origin[:100]} may not call this service.")


def _is_own(origin: str, host: str) -> bool:
    """Whether the origin is the host of this request. The scheme may be https behind a proxy."""
    scheme, separator, netloc = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    if not (separator and netloc and default) or (scheme == "https" and is_loopback(_host(host))):
        return False
    return netloc.removesuffix(default) == host.lower().removesuffix(default)


def _is_forwarded(context: ApiContext) -> bool:
    """Whether a proxy on this machine reports that the request came from another machine."""
    addresses = ",".join(context.headers.get_all("x-forwarded-for")).split(",")
    remote = [address for address in addresses if address.strip() and not is_loopback(address.strip())]
    return bool(remote) or "forwarded" in context.headers


def _host(address: str) -> str:
    """The host without its port, in lower case; an IPv6 address without its brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0].lower()
