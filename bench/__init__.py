"""gridbench: the experiment grids of five papers, run on Ray, compared fairly."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
#: The clone that this runs from, None if it was installed from a wheel.
CLONE = _ROOT if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "methods").is_dir() else None
# A wheel carries methods/ and baselines/ as bench.methods and bench.baselines. A clone that comes first on
# the path (an editable install, a Ray working directory) keeps them beside bench/, so they are found there.
if CLONE is not None:
    __path__.append(str(CLONE))
#: The folder of a working directory into which `bench launch` lays the files that the user named.
LAUNCHED = "launched"

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``bench.try_method`` and ``bench.load`` without making every import of ``bench`` pay for them."""
    if name == "try_method":
        from bench.notebook import try_method

        return try_method
    if name == "load":
        from bench.board.frame import load

        return load
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
