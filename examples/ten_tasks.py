"""Ten tasks of random length on three processes: who ran what, and for how long."""

import random
import time

from procession import Pool, current_process


def work(seconds):
    began = time.perf_counter()
    time.sleep(seconds)
    return current_process().name, time.perf_counter() - began


if __name__ == "__main__":
    with Pool(3) as pool:
        results = [pool.apply_async(work, (random.uniform(0.01, 0.1),)) for _ in range(10)]
        for number, result in enumerate(results):
            name, seconds = result.get()
            print(f"task {number} ran on {name} for {seconds:.2f} s")

# task 0 ran on ForkPoolWorker-1 for 0.07 s
# task 1 ran on ForkPoolWorker-2 for 0.01 s
# task 2 ran on ForkPoolWorker-3 for 0.05 s
# task 3 ran on ForkPoolWorker-2 for 0.09 s
# task 4 ran on ForkPoolWorker-3 for 0.02 s
# task 5 ran on ForkPoolWorker-1 for 0.04 s
# task 6 ran on ForkPoolWorker-3 for 0.10 s
# task 7 ran on ForkPoolWorker-2 for 0.03 s
# task 8 ran on ForkPoolWorker-1 for 0.06 s
# task 9 ran on ForkPoolWorker-2 for 0.08 s
