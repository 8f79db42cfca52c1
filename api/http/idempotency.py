"""Idempotency-Key: the same request under the same key is the same job, whatever has become of it meanwhile."""

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

FORM = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
LARGE = 200_000  # bytes; a larger body is hashed aside
REPLAYED = ("Idempotency-Replayed", "true")


async def accepted_before() -> Response | None:
    """The answer for a request that was accepted before. Raises KeyReused if it was another one, or HTTPProblem."""
    here = api_context()
    if "idempotency-key" not in here.headers:
        return None
    key = here.headers.get("idempotency-key") or ""  # of one that is not ASCII the server has the name alone
    if not FORM.fullmatch(key):
        raise HTTPProblem("bad-idempotency-key", "An Idempotency-Key has 1 to 255 printable ASCII characters.")
    here.repeatable = blake2b(key.encode(), digest_size=16).hexdigest()
    here.fingerprint = await run_in_thread(_fingerprint, here) if len(here.body) > LARGE else _fingerprint(here)
    found = await here.service.on_loop.accepted_before(here.caller, here.repeatable)
    if found is None:
        return None
    job_id, fingerprint = found
    if fingerprint != here.fingerprint:
        raise KeyReused("This Idempotency-Key came with another request before: take a new key for a new request.")
    return await replay(job_id)


async def replay(job_id: str) -> Response:
    """As the first answer was: 202, or 200 if the client waits for the end and it has come."""
    here, preference = api_context(), preferred()
    here.body = b""  # nothing is left to be done with it, and the wait may be long
    here.end_turn()
    waiters, seconds = here.service.waiters, preference.seconds(here.service.settings.max_wait)
    record = await (waiters.wait(job_id, seconds, here.gone) if seconds else waiters.read(job_id))
    if record is None:
        raise HTTPProblem("forgotten-job", "The job that this Idempotency-Key was for has been forgotten: take a new key.")
    if seconds and record.state.final:
        return responses.of_record(record, REPLAYED, *preference.applied(seconds, final=True))
    told = preference.applied(seconds, final=False)
    return responses.unfinished(resource.of_record(record), record.retry_after, REPLAYED, *told)


def _fingerprint(here: ApiContext) -> str:
    """Of all that makes the job. The boundary of a form, which a client draws anew for each try, is left out."""
    content_type = here.headers.get("content-type") or ""
    body, boundary = here.body, re.search(r"boundary=\"?([^\";]+)", content_type)
    if boundary and mimetype() == "multipart/form-data":
        body = body.replace(boundary[1].encode(), b"")
        content_type = content_type.partition(";")[0]
    digest = blake2b(digest_size=16)
    for part in (here.method, here.path, here.query, content_type):
        digest.update(part.encode() + b"\n")
    digest.update(body)
    return digest.hexdigest()
