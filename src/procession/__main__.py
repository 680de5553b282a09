"""``python -m procession``: run a program that imports ``multiprocessing`` with procession in its place."""

from __future__ import annotations

import sys

from procession import main_part

if __name__ == "__main__":
    code = main_part.main()
    if code is not None:
        sys.exit(code)
