"""What the fork server does once, before it forks; imported there alone, the last of what is preloaded.

It adopts what cells leave behind, so that the driver finds it; it ends all cells and all they started before
it leaves (when the driver is gone, even by SIGKILL, or a scheduler terminates the job).
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import warnings
from typing import Any, NoReturn

from bench.engine import processes


def _leave(number: int, frame: Any) -> NoReturn:
    sys.exit(128 + number)


os.setsid()  # a signal to the driver's whole group, which may be SIGKILL, leaves this process time to tidy up
processes.adopt()
atexit.register(processes.end_below, os.getpid())
signal.signal(signal.SIGTERM, _leave)
# It tells of every process that it did not fork and has to reap; those are the ones it adopted.
warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
# The children's garbage collector need not look at what was loaded here: a look copies it into each of them.
gc.collect()
gc.freeze()
