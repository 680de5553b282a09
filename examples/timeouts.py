"""A task that takes too long, or is not wanted any more, is ended, and nothing else is."""

import time

from procession import Pool
from procession.errors import TaskTimeout


def work(seconds):
    time.sleep(seconds)
    return seconds


if __name__ == "__main__":
    with Pool(2) as pool:
        try:
            pool.apply(work, (60,), timeout=0.5)
        except TaskTimeout as error:
            print(f"{error.task} had {error.timeout} s")
        values = pool.map(work, [0.1, 60, 0.2], timeout=0.5, on_error="return")
        print([value if isinstance(value, float) else type(value).__name__ for value in values])

        long = pool.apply_async(work, (60,))
        print(long.cancel(), long.cancelled())

# __main__.work(60) had 0.5 s
# [0.1, 'TaskTimeout', 0.2]
# True True
