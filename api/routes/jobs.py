"""GET /jobs: the jobs of the caller, or of all callers for an admin, newest first; or several jobs by id."""

import heapq
from typing import Annotated, Literal

import msgspec
from flask import Blueprint
from msgspec import Meta, Struct

from api.http import responses
from api.http.body import query_of
from api.http.context import api_context, run_in_thread, service
from api.http.operation import operation
from api.job_ids import is_known
from api.server.response import Response
from jobs import resource
from jobs.job import State
from jobs.ledger import ListEntry
from jobs.resource import JobResource
from models.input_errors import InputError, InvalidInput

blueprint = Blueprint("listing", __name__)

MAX_IDS = 100
MAX_SCANNED = 10_000  # records read for one page
MAX_RESULTS = 10_000_000  # bytes of results in one response


class JobsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``cursor``: the one of the page before. ``id``: ids with commas between them, and nothing else then."""

    status: State | None = None
    kind: Literal["predict", "train", "dataset"] | None = None
    model: Annotated[str, Meta(max_length=64, description="the name of a model or a data set")] = ""
    label: Annotated[str, Meta(max_length=100, description="text of at most 100 characters")] = ""
    cursor: Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,15}$", description="the cursor of the page before")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="a number from 1 to 1000")] = 100
    id: Annotated[str, Meta(max_length=MAX_IDS * 41, description="at most 100 ids, with commas between them")] = ""


class JobList(Struct, frozen=True):
    """Without results, unless they are requested by id; then also which ids never were, and which have been forgotten. While
    ``cursor`` is not null there may be more, even if this page is short or empty."""

    jobs: list[JobResource]
    cursor: str | None
    unknown: list[str] = []
    forgotten: list[str] = []


jobs_query = query_of(JobsQuery)


@blueprint.get("/jobs")
@operation("any", "Jobs, newest first", query=(JobsQuery,), responses={200: JobList})
async def list_jobs() -> Response:
    query = jobs_query()
    return await (_by_id(query) if query.id else run_in_thread(_page, query))


async def _by_id(query: JobsQuery) -> Response:
    if query != msgspec.structs.replace(JobsQuery(), id=query.id):
        raise InvalidInput([InputError("/id", "ids are requested alone, without other filters")])
    ids = list(dict.fromkeys(each for each in query.id.split(",") if each))
    if len(ids) > MAX_IDS:
        raise InvalidInput([InputError("/id", f"{len(ids)} ids; at most {MAX_IDS} at once")])
    known = [job_id for job_id in ids if await is_known(job_id)]
    records = dict(zip(known, await service().async_ledger.get_many(known, MAX_RESULTS), strict=True))
    found = [record for record in records.values() if record]
    forgotten = [job_id for job_id, record in records.items() if record is None]
    jobs = [resource.of_record(record) for record in found]
    return responses.json(JobList(jobs, None, [job_id for job_id in ids if job_id not in records], forgotten))


def _page(query: JobsQuery) -> Response:
    """Merges the lists of several callers, down to the point where the first of the scans stopped."""
    app_service = service()
    callers = ["", *(key.id for key in app_service.keys.all())] if api_context().is_admin else [api_context().caller]
    filters = [query.status or "", query.kind or "", query.model, query.label]
    below = int(query.cursor) if query.cursor else None
    pages = [app_service.ledger.list_jobs(caller, below, query.limit, MAX_SCANNED, filters) for caller in callers]
    scanned_to = max((end for _, end in pages if end is not None), default=0)
    found: list[ListEntry] = [each for each in heapq.merge(*(page for page, _ in pages), reverse=True) if each[0] >= scanned_to]
    shown = found[: query.limit]
    cursor = shown[-1][0] if len(found) > query.limit else scanned_to
    records = app_service.ledger.get_many([job_id for _, job_id in shown], room=0)
    return responses.json(JobList([resource.of_record(each) for each in records if each], str(cursor) if cursor else None))
