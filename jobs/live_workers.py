"""The live worker processes of a kind, and how to wake them up."""

from jobs.job import Kind
from jobs.ledger import Ledger
from jobs.wakeup import WakeupSender


class LiveWorkers:
    def __init__(self, kind: Kind, ledger: Ledger, wakeup_sender: WakeupSender) -> None:
        self._kind = kind
        self._ledger = ledger
        self._wakeup_sender = wakeup_sender

    def owners(self) -> list[str]:
        return self._ledger.live_owners(self._kind)

    def send_wakeup(self) -> None:
        """Wake up one of them."""
        self._wakeup_sender.send(self._ledger.make_wakeup(self._kind))
