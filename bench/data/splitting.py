"""Splitting into training, validation and test by groups, such as families of drawings, that stay whole."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contract import digest


def split_groups(sizes: Mapping[str, int], shares: Mapping[str, float], seed: str) -> dict[str, str]:
    """Assign every group to a part: the largest first, each to the part that lacks most of its share.

    Args:
        sizes: number of members of each group.
        shares: share of all members that each part should get; the shares add up to 1.
        seed: text from which the order of groups of equal size is drawn.

    Returns:
        Group -> part.
    """
    total, given = sum(sizes.values()), dict.fromkeys(shares, 0)
    found: dict[str, str] = {}
    for group in sorted(sizes, key=lambda g: (-sizes[g], digest([seed, g]))):
        part = max(shares, key=lambda p: shares[p] * total - given[p])
        found[group], given[part] = part, given[part] + sizes[group]
    return found
