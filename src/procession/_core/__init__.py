"""The compiled core: shared memory, locks and channels.  See csrc/ for how, `_binding.pyi` for what."""

from procession._core._binding import *
