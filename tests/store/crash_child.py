"""A process to be killed: submits verdicts without end and prints each key that was committed."""

import asyncio
import itertools
import sys

from policybot.store.database import open_database
from policybot.store.verdicts import VerdictStore

from .samples import Clock, accept, refusal


async def submit_without_end(url: str) -> None:
    store = VerdictStore(await open_database(url), clock=Clock())
    await store.start()
    numbers = itertools.count()

    async def submit() -> None:
        for number in numbers:
            decision = refusal(number) if number % 3 == 0 else accept(number)
            future = store.submit(decision)
            await asyncio.wait({future})
            print(decision.key.hex(), "signed" if future.result() else "refused", flush=True)

    await asyncio.gather(*(submit() for _ in range(32)))


if __name__ == "__main__":
    asyncio.run(submit_without_end(sys.argv[1]))
