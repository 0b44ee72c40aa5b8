"""Checking the names that a grid setting gives."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bench.errors import BenchError, nearest


def check_names(setting: str, names: Iterable[str], known: Collection[str]) -> None:
    """Make sure that every name in a setting is one that the track has.

    Args:
        setting: which setting of which track the names are in, such as ``ood: grid.targets``.
        names: what the setting holds.
        known: all names that it may hold.

    Raises:
        BenchError: a name is unknown; the error says which, and the nearest known one.
    """
    for name in names:
        if name not in known:
            raise BenchError(f"{setting}: nothing is named {name!r}{nearest(name, known)}")
