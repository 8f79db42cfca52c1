"""Delivers webhooks at the end of jobs, each in a thread of its own."""

import logging
import ssl
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from msgspec import json, structs

from jobs.job import Claim, ClaimedJob, Record
from jobs.ledger import Ledger
from jobs.resource import Attempt, iso
from webhooks.host_backoff import HostBackoff
from webhooks.networks import Networks
from webhooks.resolver import NoAddress, resolve
from webhooks.retry_schedule import next_delay
from webhooks.sender import TIMEOUT, Reply, failed, send
from webhooks.signature import sign
from webhooks.signing_secrets import Secrets
from webhooks.url import BadWebhook, check_url
from worker.handlers.webhook_message import MAX_BYTES, Message, encode, message_of
from worker.process import Finish, retry_until_available

log = logging.getLogger("mldeploy.worker")

THREADS = 32
SLOW_SHARE = 0.25  # share of the time-out; a failure after it counts against the host
GONE = 410  # the receiver wants no further attempt


class WebhookHandler:
    """To be created after the fork."""

    def __init__(
        self,
        owner: str,
        ledger: Ledger,
        secrets: Secrets,
        networks: Networks,
        timeout: float = TIMEOUT,
    ) -> None:
        self._owner = owner
        self._ledger = ledger
        self._secrets = secrets
        self._networks = networks
        self._timeout = timeout
        self._backoff = HostBackoff()
        self._tls = ssl.create_default_context()
        self._pool = ThreadPoolExecutor(THREADS, "deliver")

    def on_idle(self) -> None:
        pass

    def handle(self, claim: Claim, finish: Finish) -> None:
        """Records each delivery as soon as its receiver has responded; so the final ``finish`` has no outcomes."""
        under_way = [self._pool.submit(self._deliver, delivery) for delivery in claim.jobs]
        for done in as_completed(under_way):
            done.result()
        finish((), ())

    def _deliver(self, delivery: ClaimedJob) -> None:
        message, now = message_of(delivery, self._record), time.time()
        backoff = self._backoff.remaining(message.host) if message else 0.0
        if message and backoff:  # this does not count as an attempt
            self._note(delivery, b"", backoff, encode(message))
            return
        reply = self._send(message, now) if message else failed("the job was forgotten before its webhook could be sent")
        attempt = json.encode(Attempt(iso(round(now * 1000)), reply.status, reply.error))
        again_in, payload = self._next(message, reply) if message else (None, b"")
        self._note(delivery, attempt, again_in, payload)

    def _record(self, job_id: str) -> Record | None:
        """The record, without a result that is too large for a message."""
        return retry_until_available(lambda: self._ledger.get(job_id, MAX_BYTES))

    def _note(self, delivery: ClaimedJob, attempt: bytes, again_in: float | None, payload: bytes) -> None:
        retry_until_available(lambda: self._ledger.deliver(self._owner, delivery, attempt, again_in, payload))

    def _send(self, message: Message, now: float) -> Reply:
        try:
            target = check_url(message.url, self._networks)
            address = resolve(target, self._networks)
        except (BadWebhook, NoAddress) as error:
            return failed(str(error))
        began = time.monotonic()
        reply = send(target, address, self._headers(message, int(now)), message.body, self._tls, self._timeout)
        if reply.status is not None:
            self._backoff.record_response(message.host)
        elif time.monotonic() - began > SLOW_SHARE * self._timeout:
            self._backoff.record_silence(message.host)
        return reply

    def _headers(self, message: Message, timestamp: int) -> dict[str, str]:
        signed = {
            "webhook-id": message.job_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self._secrets.of(message.caller), message.job_id, timestamp, message.body),
        }
        return {**signed, "traceparent": message.trace} if message.trace else signed

    def _next(self, message: Message, reply: Reply) -> tuple[float | None, bytes]:
        """Seconds until the next attempt, and its payload; None after the last."""
        if reply.status is not None and 200 <= reply.status < 300:
            return None, b""
        made = message.attempts + 1
        again_in = None if reply.status == GONE else next_delay(made)
        if again_in is None:
            log.warning("webhook of job %s: abandoned after %d attempts: %s", message.job_id, made, reply.status or reply.error)
            return None, b""
        return again_in, encode(structs.replace(message, attempts=made))
