"""A large object that all tasks read: it lies in shared memory once, and tasks get its handle."""

import numpy as np

from procession import Pool, share


def total(table, row):
    return int(table.get()[row].sum())


if __name__ == "__main__":
    table = share(np.arange(1_000_000).reshape(1000, 1000))
    with Pool(2) as pool:
        print(pool.starmap(total, [(table, row) for row in range(3)]))
    print("can be written to:", table.get().flags.writeable)

# [499500, 1499500, 2499500]
# can be written to: False
