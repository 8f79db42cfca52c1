"""Job ids as the API gives and checks them."""

from api.exchange import aside, service
from jobs.ledger import Ledger


async def new_id() -> str:
    return (await _ledger()).new_id()


async def verifies(job_id: str) -> bool:
    return (await _ledger()).verifies(job_id)


async def _ledger() -> Ledger:
    """With its secret read, which is asked of Redis once."""
    ledger = service().ledger
    if not ledger.knows_secret:
        await aside(lambda: ledger.secret)
    return ledger
