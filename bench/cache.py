"""Where this machine keeps what it could make or fetch again: copies of stages, digests of large files."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of the cache: ``$BENCH_CACHE`` if set, else ``gridbench`` in the user's cache folder."""
    if own := os.environ.get("BENCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridbench"
