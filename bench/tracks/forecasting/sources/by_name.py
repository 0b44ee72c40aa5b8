"""Which source a task of the track has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.tracks.common.sources import Source

if TYPE_CHECKING:
    from bench.tracks.forecasting.data import Splits


def source_of(dataset: str) -> Source[Splits]:
    """The source of a task's data, imported now: a plan of other tasks does not pay for it."""
    if dataset == "blobs":
        from bench.tracks.forecasting.sources import blobs

        return blobs
    if dataset in ("digits", "turbulence"):
        from bench.tracks.forecasting.sources import generated

        return generated
    if dataset in ("storm", "wind"):
        from bench.tracks.forecasting.sources import winds

        return winds
    from bench.tracks.forecasting.sources import radar

    return radar
