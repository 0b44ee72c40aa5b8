"""Groups that must not be torn apart (families of drawings) dealt out to training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping

from bench.contract import digest


def dealt(sizes: Mapping[str, int], shares: Mapping[str, float], seed: str) -> dict[str, str]:
    """Group -> part: the biggest first, each to the part that lacks most of its share.

    Args:
        sizes: members a group.
        shares: of all members, that each part should get; they add up to 1.
        seed: text from which the order of groups of one size is drawn.
    """
    total, given = sum(sizes.values()), dict.fromkeys(shares, 0)
    found: dict[str, str] = {}
    for group in sorted(sizes, key=lambda g: (-sizes[g], digest([seed, g]))):
        part = max(shares, key=lambda p: shares[p] * total - given[p])
        found[group], given[part] = part, given[part] + sizes[group]
    return found
