"""On which terms a job is submitted: what every submission may say in its query and its headers."""

import re
from typing import Annotated

from msgspec import Meta, Struct

from api.http.context import api_context, service
from jobs.job import NO_MORE, NO_TERMS, Metadata, SubmitOptions
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
    start. ``webhook``: where its end is told."""

    label: Label = ""
    expires_in: Annotated[float, Meta(gt=0, le=604_800, description="seconds, more than 0 and at most 604800")] | None = None
    webhook: Webhook = ""


def terms_of(asked: SubmitQuery) -> SubmitOptions:
    """Raises InvalidInput for a webhook that would not be told."""
    here = api_context()
    trace = _trace(here.headers.get("traceparent"))
    host = _host(asked.webhook) if asked.webhook else ""
    more = Metadata(asked.label, asked.webhook, trace) if asked.label or asked.webhook or trace else NO_MORE
    if more is NO_MORE and not here.caller and not here.repeatable and not asked.expires_in:
        return NO_TERMS
    return SubmitOptions(here.caller, asked.expires_in or 0.0, here.repeatable, here.fingerprint, host, more)


def _host(url: str) -> str:
    try:
        return check_url(url, service().networks).host
    except BadWebhook as error:
        raise InvalidInput([InputError("/webhook", str(error))]) from None


def _trace(header: str | None) -> str:
    """W3C Trace Context; what is no traceparent is left out, as that standard has it."""
    return header if header and TRACEPARENT.fullmatch(header) else ""
