"""The tests of the C core, which need no Python: each variant that run.sh builds is one test here."""

import os
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.sh")
FLAG_OF = {
    "plain": "",
    "torture": "",
    "asan": "-fsanitize=address",
    "ubsan": "-fsanitize=undefined",
    "tsan": "-fsanitize=thread",
}
KILLS = "4000"  # run.sh alone does some more


def can_run(flag: str, folder: Path) -> bool:
    """Whether this compiler has the sanitizer, and its programs start on this kernel."""
    source = folder / "probe.c"
    source.write_text("int main(void) { return 0; }\n")
    program = str(folder / "probe")
    compiled = subprocess.run([os.environ.get("CC", "cc"), flag, str(source), "-o", program], capture_output=True)
    return compiled.returncode == 0 and subprocess.run([program], capture_output=True).returncode == 0


@pytest.mark.deadline(400)
@pytest.mark.parametrize("variant", FLAG_OF)
def test_the_core_passes_its_own_tests(variant: str, tmp_path: Path) -> None:
    flag = FLAG_OF[variant]
    if flag and not can_run(flag, tmp_path):
        pytest.skip(f"this compiler or this kernel does not run programs built with {flag}")
    environment = {"TORTURE_KILLS": KILLS, **os.environ}
    run = subprocess.run(
        [str(RUN), variant], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert run.returncode == 0, run.stdout[-8000:]
