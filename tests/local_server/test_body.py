"""Bodies in memory: who waits for whom."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from infra.local.body import Budget


async def hold(budget: Budget, size: int, name: str, told: list[str], release: asyncio.Event) -> None:
    async with budget.share(size):
        told.append(name)
        await release.wait()
    told.append(f"{name} done")


def test_shares_are_given_in_the_order_of_asking() -> None:
    async def main() -> list[str]:
        budget, told, release = Budget(10), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(hold(budget, size, name, told, release)) for size, name in ((8, "a"), (10, "b"), (1, "c"))]
        await asyncio.sleep(0)
        assert (told, budget.has(1)) == (["a"], False)
        release.set()
        await asyncio.gather(*tasks)
        assert budget.has(10)
        return told

    assert asyncio.run(main()) == ["a", "a done", "b", "b done", "c", "c done"]


def test_who_stops_waiting_takes_nothing_along() -> None:
    async def main() -> None:
        budget, told = Budget(10), list[str]()
        releases = [asyncio.Event() for _ in range(3)]
        tasks = [asyncio.create_task(hold(budget, 10, str(number), told, releases[number])) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        releases[0].set()
        await tasks[0]
        releases[2].set()
        await tasks[2]
        with suppress(asyncio.CancelledError):
            await tasks[1]
        assert budget.has(10)
        assert told == ["0", "0 done", "2", "2 done"]

    asyncio.run(main())


def test_a_share_given_in_the_moment_of_leaving_is_given_back() -> None:
    async def main() -> None:
        budget, told, first, never = Budget(10), list[str](), asyncio.Event(), asyncio.Event()
        holding = asyncio.create_task(hold(budget, 10, "a", told, first))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(hold(budget, 10, "b", told, never))
        await asyncio.sleep(0)
        first.set()
        await holding
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert budget.has(10)

    asyncio.run(main())
