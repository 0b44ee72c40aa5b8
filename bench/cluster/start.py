"""``python -m bench.cluster.start KEY run …``: the driver of a launched sweep, as the cluster starts it.

Before anything of ours is imported that needs a package, it says in one sentence if the cluster lacks one.
"""

from __future__ import annotations

import os
import platform
import runpy
import sys
import tempfile
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Note this process for `bench stop`, and run the command line."""
    key, *arguments = sys.argv[1:]
    file = Path(tempfile.gettempdir()) / f"gridbench-{key}.pid"
    file.write_text(str(os.getpid()), encoding="ascii")
    try:
        _check()
        sys.argv = ["bench", *arguments]
        runpy.run_module("bench.cli", run_name="__main__")
    finally:
        file.unlink(missing_ok=True)


def _check() -> None:
    """Leave with exit code 2 if something that the command line imports is not here."""
    try:
        for name in ("ray.tune", "bench.cli"):
            import_module(name)
    except ImportError as e:
        sys.stderr.write(
            f"error Python {platform.python_version()} at {sys.executable} on the cluster cannot run "
            f"gridbench: {e}\nLaunch with --uv or --pip, which install what gridbench needs on every node, "
            "or with --image, or on machines that have it\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
