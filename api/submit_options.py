"""The options of every submission, from its query and its headers."""

import re
from typing import Annotated

from msgspec import Meta, Struct

from api.http.context import api_context, service
from jobs.job import DEFAULT_OPTIONS, NO_METADATA, Metadata, SubmitOptions
from models.input_errors import InputError, InvalidInput
from webhooks.url import BadWebhook, check_url

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Label = Annotated[
    str,
    Meta(
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$(?!\n)",
        description="text of at most 100 printable characters",
    ),
]

Webhook = Annotated[
    str,
    Meta(
        min_length=1, max_length=2000, description="an https URL of at most 2000 characters", extra_json_schema={"format": "uri"}
    ),
]


class SubmitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``label``: a word of the client's own, shown with the job and to find it by. ``expires_in``: seconds within which it must
    start. ``webhook``: the URL that is notified of its end."""

    label: Label = ""
    expires_in: Annotated[float, Meta(gt=0, le=604_800, description="seconds, more than 0 and at most 604800")] | None = None
    webhook: Webhook = ""


def submit_options_of(query: SubmitQuery) -> SubmitOptions:
    """Raises InvalidInput for a webhook that may not be called."""
    context = api_context()
    trace = _trace(context.headers.get("traceparent"))
    host = _host(query.webhook) if query.webhook else ""
    metadata = Metadata(query.label, query.webhook, trace) if query.label or query.webhook or trace else NO_METADATA
    if metadata is NO_METADATA and not context.caller and not context.idempotency_hash and not query.expires_in:
        return DEFAULT_OPTIONS
    return SubmitOptions(context.caller, query.expires_in or 0.0, context.idempotency_hash, context.fingerprint, host, metadata)


def _host(url: str) -> str:
    try:
        return check_url(url, service().networks).host
    except BadWebhook as error:
        raise InvalidInput([InputError("/webhook", str(error))]) from None


def _trace(header: str | None) -> str:
    """W3C Trace Context. An invalid traceparent is ignored, as the standard says."""
    return header if header and TRACEPARENT.fullmatch(header) else ""
