"""Group commit: concurrent submissions share one script, and so one sync to disk and one wakeup."""

import asyncio
from collections.abc import Sequence

from jobs.async_ledger import AsyncLedger
from jobs.batcher import Batcher
from jobs.codec import Accepted
from jobs.errors import LedgerError
from jobs.job import Job
from jobs.wakeup import WakeupSender

MAX_JOBS = 32  # with more, workers predict the first batch while the next one is committed
MAX_BYTES = 1_000_000  # of payloads; a larger job is committed alone

Submission = Sequence[Job]


class Committer:
    """To be used on one event loop."""

    def __init__(self, ledger: AsyncLedger, wakeup_sender: WakeupSender) -> None:
        self._ledger = ledger
        self._wakeup_sender = wakeup_sender
        self._batcher = Batcher(self._commit, MAX_JOBS, MAX_BYTES)

    def add(self, *jobs: Job) -> "asyncio.Future[Accepted]":
        """Resolves once all of these jobs are accepted, with the Accepted of the last one. Fails with the first LedgerError of
        any of them.

        The jobs are safe after this; sending their wakeups neither delays the response nor can fail it.
        """
        return self._batcher.submit(jobs, sum(len(job.payload) for job in jobs))

    async def _commit(self, submissions: list[Submission]) -> list[Accepted | Exception]:
        outcomes, wakeups = await self._ledger.add([job for jobs in submissions for job in jobs])
        self._wakeup_sender.send(wakeups)
        results, start = list[Accepted | Exception](), 0
        for jobs in submissions:
            results.append(_result(outcomes[start : start + len(jobs)]))
            start += len(jobs)
        return results


def _result(outcomes: Sequence[Accepted | LedgerError]) -> Accepted | Exception:
    return next((outcome for outcome in outcomes if isinstance(outcome, LedgerError)), outcomes[-1])
