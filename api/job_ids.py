"""Creates and checks job ids. Each id belongs to one caller."""

from typing import Annotated

from msgspec import Meta

from api.http.context import api_context, run_in_thread, service
from api.http.problems import HTTPProblem
from jobs.ids import has_form
from jobs.ledger import Ledger

JobId = Annotated[str, Meta(pattern="^[0-9a-f]{40}$", description="the id of a job")]

UNKNOWN = "No job here has ever had this id."


async def new_id() -> str:
    return (await _ledger()).new_id(api_context().caller)


async def new_shared_id() -> str:
    """A new id of a job that all callers share."""
    return (await _ledger()).new_id()


async def check_id(job_id: str) -> None:
    """Raises HTTPProblem for an id that does not belong to this caller. An admin may use every id."""
    if not await is_known(job_id):
        raise HTTPProblem("unknown-job", UNKNOWN)


async def is_known(job_id: str) -> bool:
    ledger = await _ledger()
    if ledger.verifies(job_id, api_context().caller):
        return True
    if not api_context().caller or not api_context().is_admin or not has_form(job_id):
        return False
    record = await service().waiters.read(job_id)
    return record is not None and ledger.verifies(job_id, record.caller)


async def _ledger() -> Ledger:
    """The ledger, after its secret was read from Redis, which happens once."""
    ledger = service().ledger
    if not ledger.knows_secret:
        await run_in_thread(lambda: ledger.secret)
    return ledger
