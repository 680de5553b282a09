"""tqdm's process_map, without the times that a bar shows."""

import sys

from tqdm.contrib.concurrent import process_map


def double(number):
    return 2 * number


if __name__ == "__main__":
    options = {"file": sys.stdout, "mininterval": 1000, "bar_format": "{desc}{total}"}
    print(sum(process_map(double, range(300), max_workers=2, chunksize=5, **options)))
