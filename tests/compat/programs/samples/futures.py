"""concurrent.futures under the start method that is named."""

import logging
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor


def square(number):
    if number == 13:
        raise ValueError(number)
    return number * number


def name_in_logs(_):
    record = logging.LogRecord("name", 20, "path", 1, "message", (), None)
    return record.processName.rpartition("-")[0]


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(2, mp_context=context, initializer=abs, initargs=(1,)) as executor:
        print(sum(executor.map(square, range(10))), sum(executor.map(square, range(14, 2000), chunksize=10)))
        print(executor.submit(name_in_logs, 0).result())
        try:
            executor.submit(square, 13).result()
        except ValueError as error:
            print(repr(error), type(error.__cause__).__name__)
