"""Which source a data set of the track has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bench.contract import Task
from bench.tracks.common.sources import Source
from bench.tracks.ood import settings

if TYPE_CHECKING:
    from bench.tracks.ood.data import Splits
    from bench.tracks.ood.nets.clip import DualEncoder


class OodSource(Source["Splits"], Protocol):
    """A module that opens some data sets of this track."""

    def tasks(self, setting: settings.Setting, dataset: str) -> list[Task]:
        """The tasks that a data set has in a setting, one for each target."""

    def encoder(self, run: settings.Run) -> DualEncoder:
        """A fresh encoder, the one that every row on these data sets starts from."""


def source_of(dataset: str) -> OodSource:
    """The source of a data set, imported now: a plan of other data sets does not pay for it."""
    if dataset in settings.LAPTOP:
        from bench.tracks.ood.sources import emoji

        return emoji
    from bench.tracks.ood.sources import photos

    return photos
