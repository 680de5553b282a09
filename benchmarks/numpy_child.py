"""As `benchmarks.start_child`, of a main program that imports NumPy, too."""

import sys

import numpy  # noqa: F401

from . import start  # noqa: F401
from .child import main

if __name__ == "__main__":
    main(*sys.argv[1:])
