"""Processes, threads and asyncio, with work that computes and work that waits.

Only processes compute on several cores; all three wait side by side.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from procession import Pool

TASKS = 4


def compute(number):
    return sum(range(1_000_000 + number))


def wait(number):
    time.sleep(0.1)


async def compute_in_turn(number):
    compute(number)  # nothing else runs in the meantime


async def wait_in_turn(number):
    await asyncio.sleep(0.1)


async def gather(task):
    await asyncio.gather(*map(task, range(TASKS)))


def seconds(function, argument):
    began = time.perf_counter()
    function(argument)
    return time.perf_counter() - began


def report(name, computing, waiting):
    print(f"{name:<20}{computing:10.2f} s{waiting:10.2f} s")


if __name__ == "__main__":
    numbers = range(TASKS)
    print(f"{'':<20}{'computing':>12}{'waiting':>12}")
    with Pool(TASKS) as pool, ThreadPoolExecutor(TASKS) as threads:
        pool.map(abs, numbers)  # from here on the processes are there
        ways = {
            "one after the other": lambda task: list(map(task, numbers)),
            "processes": lambda task: pool.map(task, numbers, chunksize=1),
            "threads": lambda task: list(threads.map(task, numbers)),
        }
        for name, way in ways.items():
            report(name, seconds(way, compute), seconds(way, wait))
    report("asyncio", seconds(asyncio.run, gather(compute_in_turn)), seconds(asyncio.run, gather(wait_in_turn)))

#                        computing     waiting
# one after the other       0.10 s      0.40 s
# processes                 0.05 s      0.10 s
# threads                   0.10 s      0.10 s
# asyncio                   0.10 s      0.10 s
