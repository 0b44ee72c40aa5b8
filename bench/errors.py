"""A user's mistake, as an exception, and the nearest valid value to name in its message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake of the user's: shown as its message alone, never as a traceback."""


class AnswerError(BenchError):
    """An answer that the track cannot score (wrong shape, wrong range); the cell becomes ``failed``."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for a known word that is really near, else the words that there are."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.65)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(words) or 'none'}"
