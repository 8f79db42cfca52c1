"""The workers that train look the store through when they start, every few minutes, and as soon as Redis has lost what it knew:
numbers start above the store's, and versions that the registry does not know are reported, never replaced."""

import logging
import time
from contextlib import suppress

from jobs.condition import NOT_ADOPTED
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.ledger import Ledger
from models.inventory import Inventory

log = logging.getLogger("mldeploy.worker")

SURVEY_INTERVAL = 300.0  # seconds: another registry may write to the same store


class StoreSurvey:
    def __init__(self, ledger: Ledger, inventory: Inventory) -> None:
        self._ledger = ledger
        self._inventory = inventory
        self._due = time.monotonic() + SURVEY_INTERVAL
        self._reported: object = None

    def refresh(self) -> None:
        """If it is due. While Redis is away it waits for the next time."""
        try:
            if time.monotonic() > self._due or not self._inventory.is_surveyed():
                self.make()
        except LedgerUnavailable as error:
            log.warning("the store is not looked through: %s", error)

    def make(self) -> None:
        """Raises LedgerUnavailable."""
        self._due = time.monotonic() + SURVEY_INTERVAL
        try:
            self._record_location()
            found = self._inventory.survey()
            self._report(found)
            self._note(found)
        except OSError as error:
            self._report(error)

    def _record_location(self) -> None:
        """For who works on models and data beside the service."""
        ledger = self._ledger
        try:
            ledger.guard(lambda: ledger.redis.set(ledger.prefix + "store", ledger.settings.store_location))
        except LedgerFull as error:
            log.warning("Redis does not take where the store is: %s", error)

    def _note(self, found: dict[str, int]) -> None:
        """For the readiness of the service. Where Redis takes no more the log has it."""
        with suppress(LedgerFull):
            if found:
                self._ledger.report_problem(NOT_ADOPTED, _listed(found), 2 * SURVEY_INTERVAL)
            else:
                self._ledger.withdraw_problem(NOT_ADOPTED)

    def _report(self, found: dict[str, int] | OSError) -> None:
        """Once, as long as it stays the same."""
        if str(found) == self._reported:
            return
        self._reported = str(found)
        if isinstance(found, OSError):
            log.warning("the store cannot be looked through: %s", found)
        elif found:
            log.warning("%s: `mldeploy models adopt` brings them back", _listed(found))


def _listed(found: dict[str, int]) -> str:
    counts = ", ".join(f"{count} of {name}" for name, count in sorted(found.items()))
    return f"the store has versions that this registry does not know ({counts})"
