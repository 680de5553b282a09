"""The standard library's multiprocessing under a name of its own, which it keeps where procession has taken its place.

What was pickled where that is so names its classes ``procession._stock...``; a process where it is not finds them by this.
"""

from __future__ import annotations

import sys

from procession import _stdlib
from procession.aliases import Alias

sys.meta_path.insert(0, Alias(__name__, lambda rest: "multiprocessing" + rest))
sys.modules[__name__] = _stdlib.package
