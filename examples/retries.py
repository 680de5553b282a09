"""A task is run again if its worker dies, or if it raises what may pass."""

import os
import signal
import tempfile
from pathlib import Path

from procession import Pool


def work(folder, number):
    attempt = len(list(Path(folder).glob(f"{number}-*"))) + 1
    Path(folder, f"{number}-{attempt}").touch()
    if number == 2 and attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 3 and attempt < 3:
        raise ConnectionError("not yet")
    return f"{number}: attempt {attempt}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Pool(2) as pool:
        calls = [(folder, number) for number in range(5)]
        print(pool.starmap(work, calls, retries=2, retry_on=ConnectionError))

# ['0: attempt 1', '1: attempt 1', '2: attempt 2', '3: attempt 3', '4: attempt 1']
