"""Which rows are separated, said by letters: rows that share no letter are separated."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np

from bench.stats.estimates import Bools


def letters(order: Sequence[int], separated: Bools) -> list[str]:
    """Compact letter display: the letters of each row, by index.

    Two rows are separated exactly if they share no letter (Piepho, Journal of Computational and Graphical
    Statistics 2004). Every letter stands for a largest possible set of rows of which no two are separated;
    the sets are found row by row, which gives the same as his insertion and absorption, and a set whose pairs
    all share other letters is left out. The best row has an ``a``, and letters go on in the order of the
    ranking. Beyond ``Z`` they get primes.

    Args:
        order: row indices, best first.
        separated: (k, k) symmetric; which pairs of rows are separated.
    """
    joined = [
        sum(1 << j for j in np.flatnonzero(~separated[i]).tolist() if j != i) for i in range(len(order))
    ]
    sets: set[int] = set()
    for i in order:
        kept = {s for s in sets if s & ~joined[i]}
        grown = {(s & joined[i]) | 1 << i for s in sets} | {1 << i}
        largest = {s for s in grown if not any(s != t and s & t == s for t in grown)}
        sets = kept | largest
    rank = {row: at for at, row in enumerate(order)}
    columns = sorted(sorted(rank[i] for i in _members(s)) for s in sets)
    columns = _needed(columns)
    out = [""] * len(order)
    for at, column in enumerate(columns):
        for r in column:
            out[order[r]] += _letter(at)
    return out


def _members(s: int) -> list[int]:
    return [i for i in range(s.bit_length()) if s >> i & 1]


def _needed(columns: list[list[int]]) -> list[list[int]]:
    """Without the sets all of whose pairs are in another one too, the last ones first."""
    count: dict[tuple[int, int], int] = {}
    pairs = [[(a, b) for at, a in enumerate(c) for b in c[at:]] for c in columns]
    for each in pairs:
        for pair in each:
            count[pair] = count.get(pair, 0) + 1
    kept = []
    for column, each in reversed(list(zip(columns, pairs, strict=True))):
        if all(count[pair] > 1 for pair in each):
            for pair in each:
                count[pair] -= 1
        else:
            kept.append(column)
    return kept[::-1]


def _letter(at: int) -> str:
    return ascii_letters[at % len(ascii_letters)] + "′" * (at // len(ascii_letters))
