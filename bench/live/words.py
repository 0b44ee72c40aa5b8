"""Numbers as a reader wants them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration in words: ``4 s``, ``3.2 min``, ``11.0 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
