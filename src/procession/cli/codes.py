"""What the command's exit codes mean."""

ALL_DONE = 0
SOME_FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
"""Nobody reads standard output any more (`procession ... | head`): the end of programs in C, as shells tell it."""
