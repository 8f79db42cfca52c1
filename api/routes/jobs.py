"""GET /jobs: those of the caller, or for an admin all, newest first; or many by their ids."""

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
from jobs.ledger import Listed
from jobs.resource import JobResource
from models.input_errors import InputError, InvalidInput

blueprint = Blueprint("listing", __name__)

MAX_IDS = 100
LOOK_AT = 10_000  # records, for one page
MAX_RESULTS = 10_000_000  # bytes of results in one answer


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
    """Without results, unless they were asked for by id; then also which ids never were, and which have been forgotten. While
    ``cursor`` is not null there may be more, even if this page is short or empty."""

    jobs: list[JobResource]
    cursor: str | None
    unknown: list[str] = []
    forgotten: list[str] = []


jobs_query = query_of(JobsQuery)


@blueprint.get("/jobs")
@operation("any", "Jobs, newest first", query=(JobsQuery,), answers={200: JobList})
async def list_jobs() -> Response:
    asked = jobs_query()
    return await (_by_id(asked) if asked.id else run_in_thread(_page, asked))


async def _by_id(asked: JobsQuery) -> Response:
    if asked != msgspec.structs.replace(JobsQuery(), id=asked.id):
        raise InvalidInput([InputError("/id", "ids are asked for alone, without other filters")])
    ids = list(dict.fromkeys(each for each in asked.id.split(",") if each))
    if len(ids) > MAX_IDS:
        raise InvalidInput([InputError("/id", f"{len(ids)} ids; at most {MAX_IDS} at once")])
    known = [job_id for job_id in ids if await is_known(job_id)]
    records = dict(zip(known, await service().on_loop.get_many(known, MAX_RESULTS), strict=True))
    found = [record for record in records.values() if record]
    forgotten = [job_id for job_id, record in records.items() if record is None]
    told = [resource.of_record(record) for record in found]
    return responses.json(JobList(told, None, [job_id for job_id in ids if job_id not in records], forgotten))


def _page(asked: JobsQuery) -> Response:
    """Of several callers' lists: what is newer than where any of them stopped looking."""
    here = service()
    callers = ["", *(key.id for key in here.keys.all())] if api_context().is_admin else [api_context().caller]
    filters = [asked.status or "", asked.kind or "", asked.model, asked.label]
    below = int(asked.cursor) if asked.cursor else None
    pages = [here.ledger.listed(caller, below, asked.limit, LOOK_AT, filters) for caller in callers]
    stopped = max((end for _, end in pages if end is not None), default=0)
    found: list[Listed] = [each for each in heapq.merge(*(page for page, _ in pages), reverse=True) if each[0] >= stopped]
    shown = found[: asked.limit]
    cursor = shown[-1][0] if len(found) > asked.limit else stopped
    records = here.ledger.get_many([job_id for _, job_id in shown], room=0)
    return responses.json(JobList([resource.of_record(each) for each in records if each], str(cursor) if cursor else None))
