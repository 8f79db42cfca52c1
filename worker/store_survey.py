"""Training workers survey the store when they start, every few minutes, and as soon as Redis has lost its data. So version
numbers start above those in the store, and versions that the registry does not know are reported and never replaced."""

import logging
import time
from contextlib import suppress

from jobs.condition import NOT_ADOPTED
from jobs.errors import LedgerFull, LedgerUnavailable
from jobs.health_notes import HealthNotes
from jobs.ledger import Ledger
from models.inventory import Inventory

log = logging.getLogger("mldeploy.worker")

SURVEY_INTERVAL = 300.0  # seconds; another registry may write to the same store


class StoreSurvey:
    def __init__(self, ledger: Ledger, inventory: Inventory) -> None:
        self._ledger = ledger
        self._notes = HealthNotes(self._ledger)
        self._inventory = inventory
        self._next_survey = time.monotonic() + SURVEY_INTERVAL
        self._reported: object = None

    def refresh(self) -> None:
        """Surveys the store if that is due. While Redis is away it logs a warning, and a later call tries again."""
        try:
            if time.monotonic() > self._next_survey or not self._inventory.is_surveyed():
                self.survey()
        except LedgerUnavailable as error:
            log.warning("the store is not surveyed: %s", error)

    def survey(self) -> None:
        """Raises LedgerUnavailable."""
        self._next_survey = time.monotonic() + SURVEY_INTERVAL
        try:
            self._record_location()
            found = self._inventory.survey()
            self._report(found)
            self._note(found)
        except OSError as error:
            self._report(error)

    def _record_location(self) -> None:
        """Stores the location in Redis, for the admin commands."""
        ledger = self._ledger
        try:
            ledger.guard(lambda: ledger.redis.set(ledger.prefix + "store", ledger.settings.store_location))
        except LedgerFull as error:
            log.warning("the location of the store cannot be written to Redis: %s", error)

    def _note(self, found: dict[str, int]) -> None:
        """Reports the problem to the readiness check. If Redis is full it is only in the log."""
        with suppress(LedgerFull):
            if found:
                self._notes.add_problem(NOT_ADOPTED, _listed(found), 2 * SURVEY_INTERVAL)
            else:
                self._notes.remove_problem(NOT_ADOPTED)

    def _report(self, found: dict[str, int] | OSError) -> None:
        """Logs each result once until it changes."""
        if str(found) == self._reported:
            return
        self._reported = str(found)
        if isinstance(found, OSError):
            log.warning("the store cannot be surveyed: %s", found)
        elif found:
            log.warning("%s: `mldeploy models adopt` brings them back", _listed(found))


def _listed(found: dict[str, int]) -> str:
    counts = ", ".join(f"{count} of {name}" for name, count in sorted(found.items()))
    return f"the store has versions that this registry does not know ({counts})"
