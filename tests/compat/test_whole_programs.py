"""The programs of `programs/` that need nothing but what is installed here; `nox -s programs` runs them all."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "programs"))

from run import all_programs, difference, run

PROGRAMS = [program for program in all_programs() if not program.needs]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_program_does_the_same_with_procession(program):
    plain = run(sys.executable, program, ours=False)
    ours = run(sys.executable, program, ours=True)
    assert difference(plain, ours) == ""
    assert plain.output
