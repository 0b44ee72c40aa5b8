"""Choosing examples of a data set: a few, the same ones every time; or all of them again and again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def thinned(rows: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the positions (k,), evenly spread over their order; all of them if ``n`` is 0."""
    if not 0 < n < len(rows):
        return rows
    chosen: np.ndarray = rows[np.linspace(0, len(rows) - 1, n).astype(np.int64)]
    return chosen


def thinned_by_domain(rows: np.ndarray, domain: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the positions (k,) of each domain, ascending; all of them, as they are, if ``n`` is 0.

    Args:
        rows: positions of examples.
        domain: (all examples,) integers, the domain of every example.
        n: how many of each domain; they are evenly spread over its positions.
    """
    if not n:
        return rows
    return np.sort(np.concatenate([thinned(rows[domain[rows] == d], n) for d in np.unique(domain[rows])]))


def few_per_class(rows: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
    """At most ``n`` of the positions (k,) of each class, ascending; all of them, as they are, if ``n`` is 0.

    Which ones is drawn from a fixed seed, so that the order of the examples decides nothing.

    Args:
        rows: positions of examples.
        y: (all examples,) integers, the class of every example.
        n: how many of each class.
    """
    if not n:
        return rows
    order = np.random.default_rng(0).permutation(rows)
    return np.sort(np.concatenate([order[y[order] == c][:n] for c in np.unique(y[rows])]))


def shuffled(rows: np.ndarray) -> np.ndarray:
    """The positions (k,) in a random order that is the same every time.

    A list that is sorted by class would show a method pictures of one class together when it predicts them.
    """
    return np.random.default_rng(0).permutation(rows)


def endless(rows: np.ndarray, random: np.random.Generator) -> Iterator[int]:
    """The positions (k,) in a random order, then in another one, without end."""
    while True:
        yield from random.permutation(rows).tolist()
