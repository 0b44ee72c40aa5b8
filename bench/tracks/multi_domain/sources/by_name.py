"""Which source a data set of the track has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.tracks.common.sources import Source

if TYPE_CHECKING:
    from bench.tracks.multi_domain.data import Splits

#: The papers' data sets of photographs.
PHOTOS = ("office-home", "domain-net", "fmow")


def source_of(dataset: str) -> Source[Splits]:
    """The source of a data set, imported now: a plan of other data sets does not pay for it."""
    if dataset == "emoji":
        from bench.tracks.multi_domain.sources import emoji

        return emoji
    if dataset.startswith("digits"):
        from bench.tracks.multi_domain.sources import digits

        return digits
    if dataset in PHOTOS:
        from bench.tracks.multi_domain.sources import photos

        return photos
    if dataset == "amazon":
        from bench.tracks.multi_domain.sources import ratings

        return ratings
    from bench.tracks.multi_domain.sources import tables

    return tables
