"""An asyncio program gives a pool what needs a processor, and goes on meanwhile."""

import asyncio

from procession import Pool


def count_primes(limit):
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, limit))


def in_pool(pool, function, *args):
    """The result of a call in a pool, as a future of the running loop."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def finish(finisher, value):
        loop.call_soon_threadsafe(lambda: future.cancelled() or finisher(value))

    pool.apply_async(
        function,
        args,
        callback=lambda value: finish(future.set_result, value),
        error_callback=lambda error: finish(future.set_exception, error),
    )
    return future


async def main():
    with Pool(2) as pool:
        counts = asyncio.gather(*(in_pool(pool, count_primes, limit) for limit in (1000, 10_000, 20_000)))
        ticks = 0
        while not counts.done():
            await asyncio.sleep(0.001)
            ticks += 1
        print(await counts, "and the loop went on:", ticks > 1)


if __name__ == "__main__":
    asyncio.run(main())

# [168, 1229, 2262] and the loop went on: True
