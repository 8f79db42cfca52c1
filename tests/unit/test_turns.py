"""WriteThrottle limits concurrent writes beside reads."""

import asyncio

from api.http.write_throttle import MAX_BESIDE_READS, READ_WINDOW, WriteSlot, WriteThrottle


def test_writes_are_limited_only_beside_reads() -> None:
    async def acquire() -> None:
        throttle = WriteThrottle()
        throttle.note_read()
        tasks = [asyncio.create_task(throttle.acquire()) for _ in range(MAX_BESIDE_READS * 3)]
        await asyncio.sleep(0)
        taken = [task for task in tasks if task.done()]
        assert len(taken) == MAX_BESIDE_READS
        await asyncio.sleep(READ_WINDOW * 1.2)  # all reads have ended
        slot: WriteSlot = taken[0].result()
        slot.release()
        slot.release()  # this does nothing
        await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(acquire(), 10))
