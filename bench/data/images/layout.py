"""What a whole image data set looks like on disk, and how it differs from the one that was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.data.images.image_files import Images
from bench.data.preparing import Progress

#: The prompt of most image data sets in the released code of CLIPood.
PHOTO = "a photo of a {}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a whole data set looks like.

    Attributes:
        places: files and folders that have to lie in the data set's folder; where the images are comes first,
            what lists them follows.
        scan: lists every image of the data set of a name, and reports its progress; raises `BenchError` if a
            file or folder is missing or is not what it should be.
        classes: number of classes.
        counts: published number of images of each group, or of all groups ``<key>/...`` together.
        totals: numbers of images of editions that are in use, if only the total is compared with them;
            ``counts`` are then those of the published edition, and only shown.
        template: the prompt into which a class name is put.
    """

    places: tuple[str, ...]
    scan: Callable[[str, Progress], Images]
    classes: int
    counts: Mapping[str, int]
    totals: tuple[int, ...] = ()
    template: str = PHOTO

    @property
    def images(self) -> str:
        """The folder of the images, below the data set's folder."""
        return self.places[0]

    @property
    def listed(self) -> tuple[str, ...]:
        """The files that list the images, below the data set's folder."""
        return self.places[1:]

    def difference(self, images: Images) -> str | None:
        """How classes and counts differ from the published ones, or None."""
        if len(images.classes) != self.classes:
            return f"{len(images.classes)} classes, expected {self.classes}"
        found = dict.fromkeys(self.counts, 0)
        for group, n in images.counts().items():
            found[group if group in found else group.partition("/")[0]] += n
        wrong = {group for group, n in found.items() if n != self.counts[group]}
        if not self.totals:
            differ = (f"{g} {n:,} (published {self.counts[g]:,})" for g, n in found.items() if g in wrong)
            return f"images: {', '.join(differ)}" if wrong else None
        if (total := sum(found.values())) in self.totals:
            return None
        each = (f"{g} {n:,}" + f" (published {self.counts[g]:,})" * (g in wrong) for g, n in found.items())
        return f"{total:,} images, expected {' or '.join(f'{n:,}' for n in self.totals)}: {', '.join(each)}"
