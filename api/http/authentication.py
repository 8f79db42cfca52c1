"""Who may come in: with a key as soon as one was ever made, and from this machine alone before that.

The keys are remembered, and forgotten the moment that the channel tells of a change, or is cut.
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
from jobs.redis_connection import UNREACHABLE
from settings import Settings

log = logging.getLogger("mldeploy.api")

PAUSE = 0.2  # seconds before a channel that was cut is made anew
LINGER = 0.02  # seconds between looks for unknown keys, if there are many
MAX_UNKNOWN = 1000  # in one look
CHALLENGE = ("WWW-Authenticate", 'Bearer realm="mldeploy", Basic realm="mldeploy", charset="UTF-8"')
HOW = "send it as 'Authorization: Bearer mld_…'; on the server `mldeploy keys create` makes one"


class Authenticator:
    """To be used on one event loop."""

    def __init__(self, settings: Settings, keys: Keys, rates: Rates, ledger: AsyncLedger, threads: ThreadPoolExecutor) -> None:
        self._keys = keys
        self._rates = rates
        self._ledger = ledger
        self._threads = threads
        self._own_host = settings.host
        self._insecure = settings.insecure
        self._anew = Batcher(self._read_anew, MAX_UNKNOWN, MAX_UNKNOWN, LINGER)
        self._key_set: KeySet | None = None  # only while the channel is heard
        self._last: KeySet | None = None
        self._loading: asyncio.Task[KeySet] | None = None
        self._heard = False
        self._listener: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def enter(self, context: ApiContext, access: Access) -> None:
        """Sets the exchange's key. Raises HTTPProblem or LedgerUnavailable."""
        if access == "open":
            return
        key_set = self._key_set or await self._known(access == "public")
        if key_set is None:
            return
        if not key_set.closed:
            self._check_is_local(context)
            return
        context.key = await self._key(key_set, context)
        if access != "any" and access != "public" and not context.key.may(access):  # noqa: PLR1714 - narrows the type
            raise HTTPProblem("forbidden", f"The key {context.key.name} has not the scope {access}, which this takes.")

    async def spend(self, context: ApiContext) -> None:
        """One request of the key's rate. Raises RateLimited or RatesUnavailable."""
        key = context.key
        if key and key.rate:
            verdict = await self._rates.take(key.id, key.rate)
            context.notes = headers(verdict)
            if not verdict.allowed:
                detail = f"{verdict.quota} requests in {verdict.window} s may be made with this key."
                raise RateLimited(detail, verdict.retry_after)

    def is_valid(self, context: ApiContext) -> bool:
        """Whether the key it came with is one as far as is known now."""
        key_set = self._key_set or self._last
        return context.key is None or key_set is None or key_set.has(context.key)

    def check_is_valid(self, context: ApiContext) -> None:
        """Raises HTTPProblem."""
        if not self.is_valid(context):
            raise _unauthorized("This key was revoked meanwhile")

    async def close(self) -> None:
        for task in filter(None, (self._listener, self._refreshing)):
            task.cancel()
            await asyncio.wait([task])
        await self._rates.close()

    async def _key(self, key_set: KeySet, context: ApiContext) -> Key:
        """Raises HTTPProblem; an unknown one may have been made a moment ago, and be told of in a moment."""
        token, basic = _token(context)
        key = key_set.find(token)
        if key is None and is_token(token):
            key = (await self._anew.ask(None)).find(token)
            if key:
                self._key_set = None  # it is behind
        if key is None:
            raise _unauthorized("This key is not known, or was revoked" if token else "No key came with the request")
        if basic:  # a browser sends it by itself, also when another site asks it to
            _check_origin(context)
        return key

    def _check_is_local(self, context: ApiContext) -> None:
        host = _host(context.headers.get("host") or "")
        if self._insecure:
            _check_origin(context)
        elif not is_loopback(self._own_host) or not context.is_near or _is_forwarded(context):
            raise _unauthorized("No key was made yet, and this is not served to this machine alone")
        elif "host" in context.headers and not is_loopback(host):
            detail = f"Without keys this is served to this machine alone, and not as {host[:100]}: {HOW}."
            raise HTTPProblem("foreign-host", detail)
        else:
            _check_origin(context)

    async def _known(self, also_without: bool) -> KeySet | None:
        """``also_without``: the last that was known, if Redis is away."""
        try:
            return await self._load()
        except LedgerUnavailable:
            if also_without:
                return self._last
            raise

    async def _load(self) -> KeySet:
        self._listener = self._listener or asyncio.get_running_loop().create_task(self._listen())
        if self._loading is None or not self._heard:
            self._loading = asyncio.get_running_loop().create_task(self._read())
        mine = self._loading
        try:
            key_set = await asyncio.shield(mine)
        finally:
            if self._loading is mine:
                self._loading = None
        return key_set

    async def _refresh(self) -> None:
        """Also while nobody comes in: there may be some who were let in before."""
        try:
            await self._load()
        except LedgerUnavailable as error:
            log.warning("the keys could not be read: %s", error)

    async def _read(self) -> KeySet:
        me = asyncio.current_task()
        self._last = key_set = await asyncio.get_running_loop().run_in_executor(self._threads, self._keys.key_set)
        if self._heard and self._loading is me:  # and nothing was heard since this began
            self._key_set = key_set
        return key_set

    async def _read_anew(self, asked: Sequence[None]) -> list[KeySet]:
        return [await self._read()] * len(asked)

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._ledger.pushes(self._keys.channel):
                    self._heard, self._key_set, self._loading = True, None, None
                    self._refreshing = asyncio.get_running_loop().create_task(self._refresh())
            except UNREACHABLE as error:
                log.warning("the channel of keys was cut: %s", error)
            except Exception:
                log.exception("the channel of keys failed")
            self._heard, self._key_set = False, None
            await asyncio.sleep(PAUSE)


def _unauthorized(why: str) -> HTTPProblem:
    return HTTPProblem("unauthorized", f"{why}: {HOW}.", CHALLENGE)


def _token(context: ApiContext) -> tuple[str, bool]:
    """What was given as a key, and whether a browser may have sent it by itself."""
    scheme, _, given = (context.headers.get("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip(), False
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2], True
        except ValueError:
            return "", True
    return context.headers.get("x-api-key") or "", False


def _check_origin(context: ApiContext) -> None:
    """Raises HTTPProblem for a page of another origin; on one machine, another port is another origin."""
    origin = context.headers.get("origin")
    if origin is not None and not _is_own(origin, context.headers.get("host") or ""):
        raise HTTPProblem("foreign-origin", f"Pages of {origin[:100]} may not call this service.")


def _is_own(origin: str, host: str) -> bool:
    """Whether it is where this request was sent. Behind a proxy that may have been by https."""
    scheme, separator, place = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    if not (separator and place and default) or (scheme == "https" and is_loopback(_host(host))):
        return False
    return place.removesuffix(default) == host.lower().removesuffix(default)


def _is_forwarded(context: ApiContext) -> bool:
    """Whether a proxy on this machine says that the request came from another."""
    addresses = ",".join(context.headers.get_all("x-forwarded-for")).split(",")
    elsewhere = [address for address in addresses if address.strip() and not is_loopback(address.strip())]
    return bool(elsewhere) or "forwarded" in context.headers


def _host(address: str) -> str:
    """Without its port, in lower case; of an IPv6 address without the brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0].lower()
