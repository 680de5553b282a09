"""A few thousand frames at a Listener; `nox -s fuzz` throws as many as one likes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

import fuzz_listener


def test_no_frame_makes_a_listener_crash_hang_or_grow():
    fuzz_listener.fuzz(20_000, seed=7)
