"""As `benchmarks.child`, for the rows about starting: a main program that imports what its processes run, as programs do.

A fork server can have that ready; what a program imports later, it cannot.
"""

import sys

from . import start  # noqa: F401
from .child import main

if __name__ == "__main__":
    main(*sys.argv[1:])
