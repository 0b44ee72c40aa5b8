"""Set-up of the fork server: imported by it alone, as the last of its preloaded modules, before it forks.

The fork server adopts the processes that cells leave behind, so that the driver finds them. Before it exits
(because the driver is gone, even by SIGKILL, or because a scheduler ends the job) it ends all cells and their
descendants.
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


def _exit(number: int, frame: Any) -> NoReturn:
    sys.exit(128 + number)


os.setsid()  # a signal to the whole group of the driver, perhaps SIGKILL, does not reach this process
processes.adopt()
atexit.register(processes.end_descendants, os.getpid())
signal.signal(signal.SIGTERM, _exit)
# multiprocessing warns of every process that the server reaps and did not fork: those that it adopted.
warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
# The garbage collectors of cells skip the objects that exist now: visiting them would copy their pages.
gc.collect()
gc.freeze()
