"""Compact letter displays against patterns worked out by hand, and their promise against any pattern."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench import stats


def display(pairs, k, order=None):
    """Letters of k rows of which these pairs are separated."""
    separated = np.zeros((k, k), bool)
    for i, j in pairs:
        separated[i, j] = separated[j, i] = True
    return stats.letters(list(range(k)) if order is None else order, separated)


def test_patterns_by_hand():
    assert display([], 3) == ["a", "a", "a"]
    assert display([(0, 1), (0, 2), (1, 2)], 3) == ["a", "b", "c"]
    assert display([(0, 2)], 3) == ["a", "ab", "b"]
    assert display([(0, 2), (0, 3), (1, 3)], 4) == ["a", "ab", "bc", "c"]
    # A row with a wide interval joins the first and the last, which are separated from each other.
    assert display([(0, 1), (0, 3), (1, 3)], 4) == ["a", "b", "abc", "c"]


def test_eight_rows_that_overlap_like_steps():
    """The first is separated from all from the fifth on, the second from the last two, the third from one."""
    found = display([(0, 4), (0, 5), (0, 6), (0, 7), (1, 6), (1, 7), (2, 7)], 8)
    assert found == ["a", "ab", "abc", "abcd", "bcd", "bcd", "cd", "d"]


def test_letters_follow_the_ranking_not_the_index():
    assert display([(0, 2)], 3, order=[2, 1, 0]) == ["b", "ab", "a"]
    assert display([(0, 1)], 2, order=[1, 0]) == ["b", "a"]


def test_without_rows_and_with_one():
    assert stats.letters([], np.zeros((0, 0), bool)) == []
    assert display([], 1) == ["a"]


@given(st.integers(1, 9).flatmap(lambda k: st.tuples(st.just(k), st.permutations(range(k)), st.sets(
    st.sampled_from([*combinations(range(k), 2), (0, 0)])))))  # fmt: skip
def test_rows_share_a_letter_exactly_if_they_are_not_separated(case):
    k, order, pairs = case
    pairs = {p for p in pairs if p != (0, 0)}
    found = display(pairs, k, list(order))
    for i, j in combinations(range(k), 2):
        assert bool(set(found[i]) & set(found[j])) != ((i, j) in pairs)
    assert found[order[0]].startswith("a")
    assert all(list(f) == sorted(f) for f in found)
    used = sorted(set("".join(found)))
    assert used == [chr(ord("a") + n) for n in range(len(used))]


def test_more_than_52_letters_get_primes():
    k = 60
    found = display(list(combinations(range(k), 2)), k)
    assert (found[0], found[26], found[52]) == ("a", "A", "a′")
    assert len(set(found)) == k
