"""What the command's exit codes mean."""

ALL_DONE = 0
SOME_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
