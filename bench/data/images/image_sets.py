"""Image data sets that the user provides, in any layout: each is listed once, then read from its list.

`ImageSet.prepare` lists a data set into a folder below ``prepared`` in `bench.data.catalog.root`: a plan then
reads a small manifest, and a cell reads a list instead of walking through a million files. Nothing is written
into the data set's own folder, where the code of DomainBed would take a new folder for a domain.

Four data sets have two lists, since two papers split them differently: one with the split of CoOp
(`image_set`), one with the publisher's own (`publisher_set`).
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.contract import BenchError, digest
from bench.data.catalog import CATALOG, VARIABLE, root
from bench.data.images import class_layouts, coop, fmow, image_folders
from bench.data.images.image_files import MANIFEST, Images, Manifest, describe, load, write
from bench.data.images.layout import Layout
from bench.data.preparing import Progress, read_manifest, silent, unprepared
from bench.data.source import DataSource
from bench.errors import nearest

#: Raise when the order, a label, a part or the format changes: what was prepared before is prepared again.
VERSION = 2

#: Data sets with the domains of DomainBed, the splits of CoOp or those of WILDS.
LAYOUTS: Mapping[str, Layout] = ChainMap(
    dict[str, Layout](), fmow.LAYOUTS, coop.LAYOUTS, image_folders.LAYOUTS
)  # fmt: skip
#: The eight targets of Diff-Tuning, split as their publishers split them.
PUBLISHER_LAYOUTS: Mapping[str, Layout] = class_layouts.LAYOUTS


def image_set(name: str) -> ImageSet:
    """The data set of that name with the split of DomainBed, CoOp or WILDS.

    Raises:
        BenchError: there is no such image data set; names the nearest.
    """
    return ImageSet(name, _layout(name, LAYOUTS, "no image data set"))


def publisher_set(name: str) -> ImageSet:
    """The data set of that name as its publisher splits it.

    Raises:
        BenchError: there is no such data set; names the nearest.
    """
    layout = _layout(name, PUBLISHER_LAYOUTS, "no image data set with its publisher's split")
    return ImageSet(name, layout, "class-trees", " as its publisher splits it")


def _layout(name: str, known: Mapping[str, Layout], otherwise: str) -> Layout:
    if name not in known:
        raise BenchError(f"{otherwise} {name!r}{nearest(name, known)}")
    return known[name]


def data_source(name: str) -> DataSource:
    """A data set as an entry of the catalogue: with the one split or with the two that it is read with."""
    known = ((LAYOUTS, image_set), (PUBLISHER_LAYOUTS, publisher_set))
    found = [of(name) for layouts, of in known if name in layouts]
    return found[0] if len(found) == 1 else SplitTwice(name, tuple(found))


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One image data set with one split.

    Attributes:
        name: its name in the catalogue.
        layout: what the whole data set looks like.
        below: the folder of its list, below the folder ``prepared``.
        split: words that tell this list from another one of the same data set.
    """

    name: str
    layout: Layout
    below: str = ""
    split: str = ""

    @property
    def folder(self) -> Path:
        """The data set's own folder."""
        return CATALOG[self.name].folder

    @property
    def place(self) -> Path:
        """The folder of the list."""
        return root() / "prepared" / self.below / self.name

    def absent(self) -> str | None:
        """Which file or folder of the data set is not here and where it comes from, or None."""
        get = CATALOG[self.name].get
        if not self.folder.is_dir():
            return f"no folder {self.folder.name} in {self.folder.parent} (${VARIABLE}): get it from {get}"
        for place in self.layout.places:
            if not (self.folder / place).exists():
                kind = "file" if Path(place).suffix else "folder"
                where = f"{self.folder} (${VARIABLE}/{self.folder.name})"
                return f"no {kind} {place} in {where}: get it from {get}"
        return None

    def missing(self) -> str | None:
        """Why the data set cannot be read here and what to do about it, or None. Cheap: lists no folder."""
        if why := self.absent():
            return f"{self.name}: {why}, then: bench data prepare {self.name}"
        otherwise = f"{self.folder} is not prepared{self.split}"
        return unprepared(self.name, self.manifest, VERSION, lambda: otherwise)

    def fingerprint(self) -> str:
        """16 hexadecimal digits over the classes and every image's group, label, size and path.

        Cheap: they are made from the manifest. They end in ``-part`` if the data set was not the whole
        published one.
        """
        manifest = self.manifest()
        return digest(asdict(manifest)) + ("" if manifest.complete else "-part")

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> Manifest:
        """List the data set and write the list.

        Args:
            progress: is called with the number of folders that are read.
            partial: accept other counts than the published ones.
            again: list it although it has been done.

        Raises:
            BenchError: something is missing or not as it should be (named), or counts differ from the
                published ones and not ``partial``.
        """
        if not again and self.missing() is None and ((done := self.manifest()).complete or partial):
            return done
        images, wrong = self._scanned(progress)
        if wrong and not partial:
            raise BenchError(f"{self.name}: {wrong} (in {self.folder}); --partial takes it as it is")
        manifest, text = describe(self.name, images, wrong is None, VERSION)
        try:
            write(self.place, manifest, text)
        except OSError as e:
            raise BenchError(f"{self.place}: cannot be written: {e.strerror}") from e
        return manifest

    def verify(self, progress: Progress = silent) -> Manifest:
        """List the data set again and compare with the list that was written.

        Raises:
            BenchError: it is not prepared, or a file came, went, or has another size, label or group.
        """
        before = self.read()
        now, wrong = self._scanned(progress)
        manifest = self.manifest()
        if describe(self.name, now, wrong is None, VERSION)[0] == manifest:
            return manifest
        raise BenchError(
            f"{self.name}: {self.folder} changed since it was prepared: {_change(before, now)}:"
            f" bench data prepare {self.name} --again"
        )

    def read(self) -> Images:
        """The list of the prepared data set. Whether the images are still there is `verify`'s to find out.

        Raises:
            BenchError: the data set is not here, not prepared, or the list is damaged.
        """
        if why := self.missing():
            raise BenchError(why)
        try:
            return load(self.place, self.manifest(), self.folder)
        except BenchError as e:
            raise BenchError(f"{e}: bench data prepare {self.name} --again") from e

    def manifest(self) -> Manifest:
        """What the list holds.

        Raises:
            FileNotFoundError: the data set is not prepared.
            BenchError: the manifest is damaged.
        """
        return read_manifest(self.place / MANIFEST, Manifest)

    def _scanned(self, progress: Progress) -> tuple[Images, str | None]:
        """What lies there now, and how it differs from the published data set."""
        if why := self.absent():
            raise BenchError(f"{self.name}: {why}")
        images = self.layout.scan(self.name, progress)
        if len(images.classes) < 2:
            found = f"the one class {images.classes[0]!r}" if images.classes else "no class"
            raise BenchError(f"{self.name}: {found} in {self.folder}, expected several to tell apart")
        return images, self.layout.difference(images)


@dataclass(frozen=True, slots=True)
class Manifests:
    """The manifests of a data set that is read with two splits."""

    each: tuple[Manifest, ...]

    @property
    def complete(self) -> bool:
        """See `bench.data.source.Manifest`."""
        return all(m.complete for m in self.each)

    def summary(self) -> str:
        """See `bench.data.source.Manifest`."""
        return "\n".join(m.summary() for m in self.each)


@dataclass(frozen=True, slots=True)
class SplitTwice:
    """A data set that is read with two splits: it answers for those whose files are here."""

    name: str
    splits: tuple[ImageSet, ...]

    def here(self) -> tuple[ImageSet, ...]:
        """The data sets whose files are here; all of them if there are no files."""
        return tuple(s for s in self.splits if s.absent() is None) or self.splits

    def missing(self) -> str | None:
        """See `bench.data.source.DataSource`."""
        return next((why for s in self.here() if (why := s.missing())), None)

    def fingerprint(self) -> str:
        """See `bench.data.source.DataSource`."""
        return digest([s.fingerprint() for s in self.here()])

    def prepare(
        self, progress: Progress = silent, *, partial: bool = False, again: bool = False
    ) -> Manifests:
        """See `bench.data.source.DataSource`."""
        return Manifests(tuple(s.prepare(progress, partial=partial, again=again) for s in self.here()))

    def verify(self, progress: Progress = silent) -> Manifests:
        """See `bench.data.source.DataSource`."""
        return Manifests(tuple(s.verify(progress) for s in self.here()))


def _change(before: Images, now: Images) -> str:
    """The first difference between two lists, in words."""
    then, here = (
        {
            file: (size, group, label)
            for file, size, group, label in zip(
                i.files, i.sizes.tolist(), i.group.tolist(), i.labels.tolist(), strict=True
            )
        }
        for i in (before, now)
    )
    both = then.keys() & here.keys()
    for words, files in (
        ("is gone", then.keys() - here.keys()),
        ("is new", here.keys() - then.keys()),
        ("has another size", {f for f in both if then[f][0] != here[f][0]}),
        ("has another class or part", {f for f in both if then[f] != here[f]}),
    ):
        if files:
            more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
            first = min(files)
            sizes = f" ({here[first][0]:,} bytes, had {then[first][0]:,})" if words.endswith("size") else ""
            return f"{first} {words}{sizes}{more}"
    return "a class or a group has another name"
