"""The live worker processes of a kind, and how to have each of them look up."""

from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.wakeup import Bell


class Crew:
    def __init__(self, kind: Kind, ledger: Ledger, bell: Bell) -> None:
        self._kind = kind
        self._ledger = ledger
        self._bell = bell

    def owners(self) -> list[str]:
        return self._ledger.live_owners(self._kind)

    def knock(self) -> None:
        """For one of them."""
        self._bell.ring(self._ledger.knock(self._kind))
