"""A few thousand frames at a Listener; `nox -s fuzz` throws as many as one likes."""

from pathlib import Path

import pytest

FUZZER = Path(__file__).parents[1] / "fuzz" / "fuzz_listener.py"


@pytest.mark.deadline(90)
def test_no_frame_makes_a_listener_crash_hang_or_grow(script):
    """In a program of its own, whose memory, threads and descriptors nobody else adds to."""
    done = script.run(FUZZER, 20_000, "--seed", 7, within_s=80)
    assert (done.stderr, done.returncode) == ("", 0)
    assert "frames" in done.stdout
