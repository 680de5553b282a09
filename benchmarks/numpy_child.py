"""As `benchmarks.child`, for the rows about a main program that imports NumPy."""

import sys

import numpy  # noqa: F401

from .child import main

if __name__ == "__main__":
    main(*sys.argv[1:])
