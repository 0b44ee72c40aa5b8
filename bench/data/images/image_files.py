"""Lists of image files, with label, group and size of each: made, written to disk and read back. No pixels.

A group is what a data set is divided into by its publisher: domains, or training, validation and test.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.contract import BenchError
from bench.data.preparing import Progress
from bench.errors import nearest

if TYPE_CHECKING:
    import numpy as np

#: What torchvision's ImageFolder takes for an image, in any case.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MANIFEST, FILES = "manifest.json", "files.tsv"
#: Folders read at once: the time goes into waiting where the data lie on a network.
_THREADS = 16


def class_name(folder: str) -> str:
    """The name that is put into a prompt: the folder's, with spaces for ``_``; the case stays."""
    return folder.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of a data set.

    Attributes:
        folder: the data set's folder.
        groups: the names of its groups.
        classes: the names of its classes, as prompts name them.
        files: n paths below ``folder``, with ``/``.
        labels: (n,) int64, positions in ``classes``.
        group: (n,) int64, positions in ``groups``.
        sizes: (n,) int64, bytes.
    """

    folder: Path
    groups: tuple[str, ...]
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: np.ndarray
    group: np.ndarray
    sizes: np.ndarray

    def rows(self, group: str, labels: Sequence[int] | None = None) -> np.ndarray:
        """The positions of a group's images, in the order of the list; only those of ``labels`` if given."""
        import numpy as np

        chosen = self.group == self.groups.index(group)
        if labels is not None:
            chosen &= np.isin(self.labels, labels)
        return np.flatnonzero(chosen)

    def paths(self, rows: Sequence[int] | np.ndarray | None = None) -> list[Path]:
        """Where the images at these positions lie, or all images."""
        return [self.folder / self.files[i] for i in (range(len(self.files)) if rows is None else rows)]

    def only(self, group: str) -> Images:
        """The images of one group, in the order of the list.

        Raises:
            BenchError: there is no such group; names the nearest.
        """
        if group not in self.groups:
            raise BenchError(f"{self.folder}: no part {group!r}{nearest(group, self.groups)}")
        rows = self.rows(group)
        return replace(
            self, files=tuple(self.files[i] for i in rows), labels=self.labels[rows],
            group=self.group[rows], sizes=self.sizes[rows],
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Number of images of each group."""
        found = Counter(self.group.tolist())
        return {name: found[i] for i, name in enumerate(self.groups)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image while a list is being made: positions of its group and class, its path and its bytes."""

    group: int
    label: int
    file: str
    size: int


def collect(folder: Path, groups: Sequence[str], classes: Sequence[str], entries: Sequence[Entry]) -> Images:
    """The list of what was found, in its order.

    Raises:
        BenchError: a path contains a character that would break the list's format, or is not UTF-8.
    """
    import numpy as np

    for e in entries:
        if not _is_text(e.file):
            raise BenchError(f"{folder}: the name of {_shown(e.file)} is not UTF-8: rename it")
        if "\t" in e.file or "\n" in e.file or "\r" in e.file:
            raise BenchError(f"{folder}: a tab or a line break in the name of {e.file!r}: rename it")
    return Images(
        folder=folder,
        groups=tuple(groups),
        classes=tuple(classes),
        files=tuple(e.file for e in entries),
        labels=np.array([e.label for e in entries], np.int64),
        group=np.array([e.group for e in entries], np.int64),
        sizes=np.array([e.size for e in entries], np.int64),
    )


# ----------------------------------------------------------------------------------------------- the folders


def subfolders(folder: Path) -> list[str]:
    """The sorted names of the sub-folders that are not hidden.

    Raises:
        BenchError: ``folder`` cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(e.name for e in found if e.is_dir() and not e.name.startswith("."))
    except OSError as e:
        raise BenchError(f"{folder}: cannot be listed: {e.strerror}") from e


def _is_text(path: str) -> bool:
    """Whether a path is Unicode, and not bytes of another encoding as Python hands them on."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    """A path as it can be printed: bytes that are not UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def images_below(folder: Path) -> list[tuple[str, int]]:
    """The path below ``folder`` and the bytes of every image, also in sub-folders, in ImageFolder's order.

    That order is by the folder's path, then by name, both compared as strings. What is hidden is left out,
    as are pipes and devices (`_walk`).

    Raises:
        BenchError: a folder cannot be read, or an image has no bytes or is a link to nothing; names it.
    """
    found = []
    for parent, sizes in _walk(folder, ""):
        names = sorted(n for n in sizes if n.lower().endswith(EXTENSIONS))
        _check_bytes(folder / parent, {n: sizes[n] for n in names})
        found.append((parent, [(f"{parent}/{n}" if parent else n, sizes[n]) for n in names]))
    return [image for _, images in sorted(found) for image in images]


def _check_bytes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Refuse images without bytes, as a full disk or a broken download leaves them, and links to nothing."""
    for name, size in sizes.items():
        if size <= 0:
            what = "has 0 bytes: get it again" if size == 0 else "is a link to nothing"
            raise BenchError(f"{_shown(str(folder / name))}: {what}")


#: A folder of what macOS keeps beside the files in an archive.
_LITTER = "__MACOSX"


def _walk(folder: Path, below: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield every folder at and below one, with the sizes of its files; -1 is a link to nothing.

    Left out is what no publisher put there: hidden files and folders, among which macOS keeps a ``._`` file
    for each image and Jupyter its copies, and what is no file (pipes, devices, sockets).
    """
    inner, sizes = [], {}
    try:
        with os.scandir(folder) as found:
            for e in found:
                if e.name.startswith(".") or e.name == _LITTER:
                    continue
                if e.is_symlink() and not os.path.exists(e.path):
                    sizes[e.name] = -1
                elif e.is_dir():
                    inner.append(e.name)
                elif e.is_file():
                    sizes[e.name] = e.stat().st_size
    except OSError as e:
        raise BenchError(f"{e.filename or folder}: cannot be read: {e.strerror}") from e
    yield below, sizes
    for name in inner:
        yield from _walk(folder / name, f"{below}/{name}" if below else name)


def in_all(
    folders: Sequence[Path], progress: Progress, what: str
) -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """Yield `images_below` of each folder with its position, in order; several folders are read at once."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for i, images in enumerate(pool.map(images_below, folders)):
            progress(what, i + 1, len(folders))
            yield i, images


def sizes_of(folder: Path, files: Sequence[str], listed_in: Path | Sequence[Path]) -> list[int]:
    """The bytes of files below ``folder``; each parent folder is listed once.

    Args:
        folder: the data set's folder.
        files: their paths as a list has them.
        listed_in: the file that lists them, or for each of them the one that does.

    Raises:
        BenchError: some files are not there (names how many, the first, and what lists them), one has no
            bytes, or two of the paths are one file.
    """
    lists = [listed_in] * len(files) if isinstance(listed_in, Path) else listed_in
    parents = sorted({f.rpartition("/")[0] for f in files})
    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(parents, pool.map(_listing, [folder / p for p in parents]), strict=True))
    entries = [found[parent].get(name) for parent, _, name in (f.rpartition("/") for f in files)]
    absent = [(f, x) for f, x, entry in zip(files, lists, entries, strict=True) if entry is None]
    if absent:
        first, lacking = absent[0]
        n, of = sum(x == lacking for _, x in absent), lists.count(lacking)
        raise BenchError(
            f"{folder}: {n:,} {'image' if n == 1 else 'images'} of {of:,} listed in {lacking.name} missing,"
            f" the first {_shown(first)}"
        )
    sizes = [entry.size for entry in entries if entry is not None]
    _check_bytes(folder, dict(zip(files, sizes, strict=True)))
    seen: dict[tuple[int, int, str], str] = {}
    for file, of_list, entry in zip(files, lists, entries, strict=True):
        if entry is not None and (other := seen.setdefault(entry.identity, file)) != file:
            raise BenchError(f"{of_list}: {_shown(other)} and {_shown(file)} are one and the same file")
    return sizes


class _File(NamedTuple):
    """A file in a folder: its bytes, and what is equal for all paths that lead to it, however they are spelt:
    device and number of the folder that it lies in, and its name there.
    """

    size: int
    identity: tuple[int, int, str]


def _listing(folder: Path) -> dict[str, _File]:
    """The files in a folder by name; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    own = _number(folder)
    listed = {}
    with os.scandir(folder) as found:
        for e in found:
            if (e.is_symlink() and not os.path.exists(e.path)) or not e.is_file():
                continue
            identity = (*own, e.name)
            if e.is_symlink():
                target = Path(os.path.realpath(e.path))
                identity = (*_number(target.parent), target.name)
            listed[e.name] = _File(e.stat().st_size, identity)
    return listed


def _number(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


# ----------------------------------------------------------------------------------------- the list on disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a list of images holds.

    Attributes:
        version: of the rules by which it was made.
        dataset: name of the data set.
        groups, counts: names of the groups, and the number of images of each.
        classes: names of the classes.
        complete: whether there were as many classes and images as published.
        bytes: of all images.
        sha256: of the list itself.
    """

    version: int
    dataset: str
    groups: tuple[str, ...]
    counts: tuple[int, ...]
    classes: tuple[str, ...]
    complete: bool
    bytes: int
    sha256: str

    def summary(self) -> str:
        """What is listed, and whether it is the published data set."""
        parts = ", ".join(f"{group} {n:,}" for group, n in zip(self.groups, self.counts, strict=True))
        verdict = "the published counts" if self.complete else "not the published counts"
        return (
            f"{self.dataset}: {sum(self.counts):,} images ({parts}), {len(self.classes):,} classes: {verdict}"
        )


def describe(dataset: str, images: Images, complete: bool, version: int) -> tuple[Manifest, bytes]:
    """The manifest of a list, and the list as text: group, label, bytes and path, separated by tabs."""
    columns = (images.group.tolist(), images.labels.tolist(), images.sizes.tolist(), images.files)
    text = "".join(f"{g}\t{y}\t{s}\t{f}\n" for g, y, s, f in zip(*columns, strict=True)).encode()
    manifest = Manifest(
        version=version, dataset=dataset, groups=images.groups, counts=tuple(images.counts().values()),
        classes=images.classes, complete=complete, bytes=int(images.sizes.sum()),
        sha256=hashlib.sha256(text).hexdigest(),
    )  # fmt: skip
    return manifest, text


def write(place: Path, manifest: Manifest, text: bytes) -> None:
    """Write manifest and list into a folder; the manifest comes last and states which list it belongs to."""
    place.mkdir(parents=True, exist_ok=True)
    text_of_manifest = json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"
    for name, data in ((FILES, text), (MANIFEST, text_of_manifest.encode())):
        new = place / f".{name}.{os.getpid()}"
        new.write_bytes(data)
        new.replace(place / name)


def load(place: Path, manifest: Manifest, folder: Path) -> Images:
    """Read the list that `write` wrote, over the images in ``folder``.

    Raises:
        BenchError: it cannot be read, or is not the list of this manifest.
    """
    import numpy as np

    path = place / FILES
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BenchError(f"{path}: cannot be read: {e.strerror}") from e
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise BenchError(f"{path}: is not the list that was written")
    # One split of the whole text: 586,575 lines take a third of the time that one split a line takes.
    cells = data.decode().replace("\n", "\t").split("\t")[:-1]
    group, labels, sizes = (np.fromiter(map(int, cells[i::4]), np.int64) for i in range(3))
    return Images(
        folder=folder, groups=manifest.groups, classes=manifest.classes, files=tuple(cells[3::4]),
        labels=labels, group=group, sizes=sizes,
    )  # fmt: skip
