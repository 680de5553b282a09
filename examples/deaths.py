"""A worker that dies fails the task that it ran, and nothing else."""

import os
import signal

from procession import Pool
from procession.errors import WorkerDied


def work(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


if __name__ == "__main__":
    with Pool(2) as pool:
        results = pool.imap(work, range(4))
        while True:
            try:
                print(next(results))
            except WorkerDied as error:
                print(f"{error.task}: exit code {error.exitcode}")
            except StopIteration:
                break

# 0
# 1
# __main__.work(2): exit code -9
# 9
