"""joblib with the backend that is named: small calls, and calls with an array."""

import sys

import numpy
from joblib import Parallel, delayed


def scaled_sum(array, factor):
    return float(array.sum()) * factor


if __name__ == "__main__":
    array = numpy.arange(200_000.0)
    with Parallel(2, backend=sys.argv[1]) as parallel:
        print(sum(parallel(delayed(abs)(-number) for number in range(2000))))
        print(parallel(delayed(scaled_sum)(array, factor) for factor in range(20)))
    print(Parallel(2, backend=sys.argv[1], max_nbytes=None)(delayed(scaled_sum)(array, factor) for factor in range(4)))
