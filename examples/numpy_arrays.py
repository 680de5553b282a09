"""NumPy arrays in shared memory: parts that several processes fill, and a result that is built in place."""

import numpy as np

import procession


def fill(part, first):
    part[:] = np.arange(first, first + len(part))


def table(rows):
    result = procession.empty((rows, 3))
    result[:] = np.arange(rows)[:, None]
    return result  # it crosses without a copy, however large it is


if __name__ == "__main__":
    numbers = procession.zeros(1_000_000, dtype=int)
    with procession.Pool(2) as pool:
        pool.starmap(fill, [(numbers[first : first + 250_000], first) for first in range(0, 1_000_000, 250_000)])
        print(numbers[[0, 250_000, 999_999]])
        print(pool.apply(table, (100_000,))[-1])

# [     0 250000 999999]
# [99999. 99999. 99999.]
