"""Idempotency-Key: a request that is repeated with the same key returns the same job."""

import re
from hashlib import blake2b

from api.http import responses
from api.http.body import mimetype
from api.http.context import ApiContext, api_context, run_in_thread
from api.http.prefer import preferred
from api.http.problems import HTTPProblem
from api.server.response import Response
from jobs import resource
from jobs.errors import KeyReused

KEY_PATTERN = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
LARGE_BODY = 200_000  # bytes; a larger body is hashed in a thread
REPLAYED = ("Idempotency-Replayed", "true")


async def accepted_before() -> Response | None:
    """The response for a request that was accepted before, or None. Raises KeyReused if the key came with another request, or
    HTTPProblem."""
    context = api_context()
    if "idempotency-key" not in context.headers:
        return None
    key = context.headers.get("idempotency-key") or ""  # None if the value is not ASCII
    if not KEY_PATTERN.fullmatch(key):
        raise HTTPProblem("bad-idempotency-key", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
    context.idempotency_hash = blake2b(key.encode(), digest_size=16).hexdigest()
    context.fingerprint = await run_in_thread(_fingerprint, context) if len(context.body) > LARGE_BODY else _fingerprint(context)
    found = await context.service.async_ledger.accepted_before(context.caller, context.idempotency_hash)
    if found is None:
        return None
    job_id, fingerprint = found
    if fingerprint != context.fingerprint:
        raise KeyReused("This Idempotency-Key came with another request before: take a new key for a new request.")
    return await replay(job_id)


async def replay(job_id: str) -> Response:
    """Repeats the first response: 202, or 200 if the client waits and the job is final."""
    context, preference = api_context(), preferred()
    context.body = b""  # it is no longer needed, and the wait may be long
    context.release_write_slot()
    waiters, seconds = context.service.waiters, preference.seconds(context.service.settings.max_wait)
    record = await (waiters.wait(job_id, seconds, context.disconnected) if seconds else waiters.read(job_id))
    if record is None:
        raise HTTPProblem("forgotten-job", "The job that this Idempotency-Key was for has been forgotten: take a new key.")
    if seconds and record.state.final:
        return responses.of_record(record, REPLAYED, *preference.applied(seconds, final=True))
    applied = preference.applied(seconds, final=False)
    return responses.unfinished(resource.of_record(record), record.retry_after, REPLAYED, *applied)


def _fingerprint(context: ApiContext) -> str:
    """Hashes everything that defines the job, except the boundary of a form, which differs in each attempt."""
    content_type = context.headers.get("content-type") or ""
    body, boundary = context.body, re.search(r"boundary=\"?([^\";]+)", content_type)
    if boundary and mimetype() == "multipart/form-data":
        body = body.replace(boundary[1].encode(), b"")
        content_type = content_type.partition(";")[0]
    digest = blake2b(digest_size=16)
    for part in (context.method, context.path, context.query, content_type):
        digest.update(part.encode() + b"\n")
    digest.update(body)
    return digest.hexdigest()
