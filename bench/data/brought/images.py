"""Pictures of the user's own: ``DIR/<class>/<image>``, or with domains ``DIR/<domain>/<class>/<image>``.

Within a class of a domain a fifth of the pictures is for test and a fifth for validation, drawn by a seed.
Files of the same bytes come into one part, so that no picture is tested which is trained on; one picture in
two classes is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.contract import BenchError, digest
from bench.data.brought.entries import VERSION, Brought, Entry, command, entry, placed
from bench.data.images.image_files import (
    EXTENSIONS,
    FILES,
    MANIFEST,
    Images,
    Manifest,
    class_name,
    collect,
    describe,
    images_below,
    load,
    subfolders,
)
from bench.data.images.image_files import Entry as File
from bench.data.images.layout import PHOTO
from bench.data.preparing import Progress, read_manifest, silent
from bench.data.splitting import split_groups
from bench.errors import nearest
from bench.file_digest import read_digest

if TYPE_CHECKING:
    import numpy as np

#: Share of the pictures of a class of a domain in each part.
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
TRAIN, VAL, TEST = PARTS = tuple(SHARES)
#: The one domain of pictures without domains.
WHOLE = "all"
#: A class of a domain with fewer pictures cannot be split.
FEWEST = 3
_PARTS = "parts.tsv"


class Listed(NamedTuple):
    """The pictures, whose groups are their domains; ``part``: (n,) positions in `PARTS`."""

    images: Images
    part: np.ndarray

    def rows(self, *parts: str) -> np.ndarray:
        """Positions of the pictures of some parts, in the order of the list."""
        import numpy as np

        return np.flatnonzero(np.isin(self.part, [PARTS.index(p) for p in parts]))


def add(
    name: str,
    path: Path,
    domains: Sequence[str],
    *,
    seed: int,
    prompt: str,
    network: str,
    terms: str,
    progress: Progress = silent,
) -> tuple[Entry, dict[str, bytes]]:
    """Check pictures and split them; the entry, and the lists that belong to it.

    Args:
        name: of the data set.
        path: its folder.
        domains: names of its domains' folders; () if the folders below it are classes.
        seed: of the split.
        prompt: the text into which the name of a class is put, with ``{}`` for it; "" for the usual one.
        network: which networks its tasks have, those of the ``laptop`` profile or of ``paper``.
        terms: its licence.
        progress: is called with the number of files that were read.

    Raises:
        BenchError: a folder is missing, empty or of the wrong form, a file is no image or stands in two
            classes, or a class has too few pictures; names which.
    """
    if prompt and prompt.count("{}") != 1:
        raise BenchError(f"--prompt {prompt!r}: expected a text with one {{}}, where the class stands")
    images = _scanned(name, path, domains)
    digests = _digests(name, images, progress)
    part, copies = _split(name, images, digests, seed)
    manifest, listed = describe(name, images, True, VERSION)
    lists = {
        FILES: listed,
        _PARTS: "".join(f"{p}\t{d}\n" for p, d in zip(part, digests, strict=True)).encode(),
    }
    lists[MANIFEST] = json.dumps(asdict(manifest), ensure_ascii=False).encode()
    counts = ", ".join(f"{g} {n:,}" for g, n in images.counts().items())
    found = f"{len(images.files):,} pictures ({counts}), {len(images.classes)} classes"
    found += f", {copies:,} copies of others" * bool(copies)
    made = Entry(
        version=VERSION, name=name, kind="images", place=placed(path), bytes=manifest.bytes,
        digest=_digest(images, digests), terms=terms, found=found,
        settings={
            "domains": list(domains), "classes": list(images.classes), "seed": seed,
            "prompt": prompt or PHOTO, "network": network,
        },
    )  # fmt: skip
    return made, lists


def slug(domain: str) -> str:
    """A domain as it stands in the name of a task."""
    return "".join(c if c.isalnum() else "-" for c in domain.lower())


def read(name: str) -> Listed:
    """The list of pictures with their parts; whether files changed is `Brought.verify`'s to find out.

    Raises:
        BenchError: the data set is not here, or its lists are damaged.
    """
    import numpy as np

    e = entry(name)
    if why := data_source(name).missing():
        raise BenchError(why)
    try:
        images = load(e.folder, read_manifest(e.folder / MANIFEST, Manifest), e.path)
        lines = (e.folder / _PARTS).read_text(encoding="ascii").splitlines()
        part = np.array([PARTS.index(line.partition("\t")[0]) for line in lines], np.int64)
    except (OSError, ValueError, BenchError) as error:
        raise BenchError(f"{error}: {command(e)}") from error
    if len(part) != len(images.files):
        raise BenchError(
            f"{e.folder / _PARTS}: {len(part):,} lines for {len(images.files):,} pictures: {command(e)}"
        )
    return Listed(images, part)


def data_source(name: str) -> Brought:
    """The pictures as an entry of the catalogue."""
    return Brought(entry(name), _changed, _again)


def _changed(e: Entry) -> str | None:
    return None if e.path.is_dir() else "is no folder"


def _again(e: Entry, progress: Progress) -> str:
    """The digest of what lies there now."""
    images = _scanned(e.name, e.path, e.settings["domains"])
    return _digest(images, _digests(e.name, images, progress))


def _digest(images: Images, digests: Sequence[str]) -> str:
    """sha-256 over every picture's domain, class, path and bytes."""
    names = ((images.groups[g], images.classes[y]) for g, y in zip(images.group, images.labels, strict=True))
    lines = (f"{d}\t{c}\t{f}\t{sha}\n" for (d, c), f, sha in zip(names, images.files, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


# ------------------------------------------------------------------------------------------- what lies there


def _scanned(name: str, path: Path, domains: Sequence[str]) -> Images:
    """Every picture in the folders, by domain, class and path."""
    if not path.is_dir():
        raise BenchError(f"--images {path}: {'is no folder' if path.exists() else 'no such folder'}")
    for domain in domains:
        if domain not in (found := subfolders(path)):
            raise BenchError(
                f"{name}: no domain folder {domain!r} in {path}{nearest(domain, found)}; found"
                f" {', '.join(found) or 'no folder'}"
            )
    if len(set(domains)) < len(domains) or len(domains) == 1:
        raise BenchError(f"{name}: --domains {','.join(domains)}: expected two or more, each once")
    spelt = {d: slug(d) for d in domains}
    if twins := [d for d in domains if list(spelt.values()).count(spelt[d]) > 1]:
        raise BenchError(f"{name}: domains {' and '.join(twins)} are one in a task's name: rename a folder")
    groups = tuple(domains) or (WHOLE,)
    tops = [path / d for d in domains] or [path]
    classes = sorted({c for top in tops for c in subfolders(top)})
    if len(classes) < 2:
        places = ", ".join(map(str, tops))
        raise BenchError(
            f"{name}: {len(classes)} class folder{'s' * (len(classes) != 1)} in {places}, expected two"
            " or more, one for each class"
        )
    entries = []
    for g, top in enumerate(tops):
        for y, folder in enumerate(classes):
            here = top / folder
            listed = images_below(here) if here.is_dir() else []
            if len(listed) < FEWEST:
                raise BenchError(
                    f"{name}: {len(listed)} pictures in {here}, expected {FEWEST} or more of each class"
                    f"{' in each domain' if domains else ''} ({' '.join(EXTENSIONS)})"
                )
            below = here.relative_to(path).as_posix()
            entries += [File(g, y, f"{below}/{file}", size) for file, size in listed]
    _check_flat(name, path, domains, tops)
    return collect(path, groups, [class_name(c) for c in classes], entries)


def _check_flat(name: str, path: Path, domains: Sequence[str], tops: Sequence[Path]) -> None:
    """Refuse what would be left out without a word: pictures beside the class folders, further domains."""
    for top in tops:
        beside = [e.name for e in top.iterdir() if e.is_file() and e.name.lower().endswith(EXTENSIONS)]
        if loose := sorted(n for n in beside if not n.startswith(".")):
            raise BenchError(f"{name}: {top / loose[0]} is in no class folder: move it into one, or away")
    if extra := [f for f in subfolders(path) if domains and f not in domains]:
        raise BenchError(
            f"{name}: {path / extra[0]} is none of the domains {', '.join(domains)}: name it, or move it away"
        )


def _digests(name: str, images: Images, progress: Progress) -> list[str]:
    """The sha-256 of every file, each of which is decoded once: a damaged one would end a cell later."""
    from bench.data.images.pictures import opened

    def one(path: Path) -> str:
        opened(path)
        return read_digest(path, lambda done, total: None)

    paths, found = images.paths(), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for sha in pool.map(one, paths):
            found.append(sha)
            progress(f"{name}: pictures", len(found), len(paths))
    return found


def _split(name: str, images: Images, digests: Sequence[str], seed: int) -> tuple[list[str], int]:
    """The part of each picture, and how many files are copies of another one.

    Raises:
        BenchError: one picture stands in two classes, or copies leave a part without a picture of a class.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for i, sha in enumerate(digests):
        same[sha].append(i)
    homes: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for sha, rows in same.items():
        first = rows[0]
        if other := next((i for i in rows if images.labels[i] != images.labels[first]), None):
            raise BenchError(
                f"{name}: {images.files[first]} and {images.files[other]} are one picture in two classes:"
                " move one of them away"
            )
        homes[int(images.group[first]), int(images.labels[first])][sha] = len(rows)
    part: dict[str, str] = {}
    for (domain, label), sizes in homes.items():
        if len(sizes) < FEWEST:
            where = f"class {images.classes[label]!r} of domain {images.groups[domain]!r}"
            raise BenchError(
                f"{name}: {where} has {len(sizes)} different pictures, expected {FEWEST} or more"
            )
        part |= split_groups(sizes, SHARES, digest([seed, domain, label]))
        if lacks := [p for p in PARTS if p not in {part[sha] for sha in sizes}]:
            # Few pictures: the largest part gives one to each part that has none.
            part |= _spread(sizes, part, lacks)
    parts = [part[sha] for sha in digests]
    seen = set(zip(images.group.tolist(), images.labels.tolist(), parts, strict=True))
    for g, y in sorted({(g, y) for g, y, _ in seen}):
        if lacks := [p for p in PARTS if (g, y, p) not in seen]:
            where = f"class {images.classes[y]!r} of domain {images.groups[g]!r}"
            raise BenchError(f"{name}: {where} has only copies of other pictures, none for {lacks[0]}")
    return parts, len(digests) - len(same)


def _spread(sizes: Mapping[str, int], part: Mapping[str, str], lacks: Sequence[str]) -> dict[str, str]:
    """Each part that lacks pictures with one of those that training has: the first by name."""
    mine = sorted((sha for sha in sizes if part[sha] == TRAIN), key=lambda sha: (sizes[sha], sha))
    return dict(zip(mine[: len(lacks)], lacks, strict=True))
