"""WriteThrottle for writes."""

import asyncio

from api.http.write_throttle import LATELY, MAX_BESIDE_READS, Turn, WriteThrottle


def test_beside_reads_a_few_are_taken_in_and_without_them_all_who_wait() -> None:
    async def take() -> None:
        turns = WriteThrottle()
        turns.note_read()
        tasks = [asyncio.create_task(turns.take()) for _ in range(MAX_BESIDE_READS * 3)]
        await asyncio.sleep(0)
        taken = [task for task in tasks if task.done()]
        assert len(taken) == MAX_BESIDE_READS
        await asyncio.sleep(LATELY * 1.2)  # nobody reads any more
        turn: Turn = taken[0].result()
        turn.end()
        turn.end()  # which does nothing
        await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(take(), 10))
