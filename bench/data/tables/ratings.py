"""Amazon's product ratings as a click log over several domains: a proxy for the set of the D-Train paper.

What the paper did is not known. These are the rules of the loader in thuml/Multi-Embedding, whose authors it
shares: a user counts in a domain with at least `LEAST` ratings there; each of these is a positive, whatever
the stars, and comes with one item drawn at random that the user has not rated in the domain, a negative;
80 % and 90 % of the domain's ratings, in order of time, are where validation and test begin. Of several
ratings of one item by one user the first counts: one that was written twice makes nobody active. Users and
items are counted over all domains together, and negatives are drawn from the items of all.

`prepare` makes the form that is trained on once, below ``prepared/amazon``: ``x.npy`` (n, 2) int32, user and
item; ``y.npy`` and ``domain.npy`` (n,) uint8; ``manifest.json``. Rows stand part by part, in each at random:
where a negative follows its positive, the place of a row tells its label.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import BenchError, digest
from bench.data.anonymous import mapped
from bench.data.catalog import CATALOG, VARIABLE, root
from bench.data.preparing import Progress, read_manifest, silent, unprepared
from bench.data.source import DataSource
from bench.data.tables import rating_files
from bench.file_digest import read_digest

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: Raise when a rule changes: what was prepared before is then prepared again.
VERSION = 3
NAME = "amazon"
#: Assumed: the paper's categories were not found. From the largest to a small one, all with long histories.
DOMAINS = ("Books", "Electronics", "Movies_and_TV", "Video_Games", "Musical_Instruments")
LEAST = 5
#: Where validation and test begin, as shares of a domain's ratings in order of time.
CUTS = (0.8, 0.9)

_FILES, _MANIFEST = ("x", "y", "domain"), "manifest.json"
#: Drawings of a negative before it is given up: a user may have rated nearly everything.
_TRIES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a prepared folder holds.

    Attributes:
        version: of the rules by which it was made.
        domains, rows: names of the domains, and the number of rows of each.
        parts: rows of training, validation and test.
        edition: which publication of the ratings they are of, `rating_files.COLUMNS`.
        ratings, repeated: of each domain, how many ratings its file holds, and how many of them rate again.
        complete: whether there were as many ratings as published.
        users, items: how many there are of each.
        sha256: of the arrays, in the order x, y, domain.
    """

    version: int
    domains: tuple[str, ...]
    rows: tuple[int, ...]
    parts: tuple[int, ...]
    edition: str
    ratings: tuple[int, ...]
    repeated: tuple[int, ...]
    complete: bool
    users: int
    items: int
    sha256: tuple[str, ...]

    def summary(self) -> str:
        """What was prepared."""
        domains = ", ".join(f"{domain} {n:,}" for domain, n in zip(self.domains, self.rows, strict=True))
        parts = ", ".join(f"{n:,}" for n in self.parts)
        rows = f"{sum(self.rows):,} rows ({parts})"
        verdict = "the published counts" if self.complete else "not the published counts"
        again = f", {sum(self.repeated):,} of them of an item again" if any(self.repeated) else ""
        return (
            f"{NAME}: {rows}, {self.users:,} users, {self.items:,} items: {domains};"
            f" edition of {self.edition}, {sum(self.ratings):,} ratings{again}: {verdict}"
        )


@dataclass(frozen=True, slots=True)
class Ratings:
    """A prepared log, memory-mapped, in the order of its parts."""

    manifest: Manifest
    x: np.ndarray
    y: np.ndarray
    domain: np.ndarray


@dataclass(frozen=True, slots=True)
class RatingSource:
    """The ratings as an entry of the catalogue."""

    name: str

    def missing(self) -> str | None:
        """See `DataSource.missing`."""
        return missing()

    def fingerprint(self) -> str:
        """See `DataSource.fingerprint`."""
        return fingerprint()

    def prepare(self, progress: Progress = silent, *, partial: bool = False, again: bool = False) -> Manifest:
        """See `prepare`."""
        return prepare(partial=partial, again=again, progress=progress)

    def verify(self, progress: Progress = silent) -> Manifest:
        """See `verify`."""
        return verify()


def data_source(name: str) -> DataSource:
    """The ratings as an entry of the catalogue."""
    return RatingSource(name)


def missing() -> str | None:
    """Why the ratings cannot be read here and what to do about it, or None. Cheap."""

    def otherwise() -> str:
        why = _absent()
        return f"{why}, then" if why else f"{CATALOG[NAME].folder} is not prepared"

    return unprepared(NAME, _manifest, VERSION, otherwise)


def _absent() -> str | None:
    dataset = CATALOG[NAME]
    for domain in DOMAINS:
        if not _raw(domain).is_file():
            return (
                f"no file {_raw(domain).name} in {dataset.folder} (${VARIABLE}/{dataset.folder.name}):"
                f" get it from {dataset.get}"
            )
    return None


def _raw(domain: str) -> Path:
    return rating_files.raw_file(CATALOG[NAME].folder, domain)


def fingerprint() -> str:
    """16 hexadecimal digits over what was prepared. Cheap: they are made from the manifest.

    They end in ``-part`` if there were other ratings than the published ones.
    """
    manifest = _manifest()
    return digest(asdict(manifest)) + ("" if manifest.complete else "-part")


def read() -> Ratings:
    """Map the prepared log into memory.

    Raises:
        BenchError: it is not here, not prepared, or cannot be read.
    """
    if why := missing():
        raise BenchError(why)
    place = _place()
    try:
        # Copy-on-write: who changes a map changes only what he sees himself.
        x, y, domain = (mapped(place / f"{f}.npy", "c") for f in _FILES)
    except (OSError, ValueError) as e:
        raise BenchError(f"{place}: cannot be read: {e}: bench data prepare {NAME} --again") from e
    return Ratings(_manifest(), x, y, domain)


def verify() -> Manifest:
    """Compare the prepared arrays with the digests in the manifest.

    Raises:
        BenchError: they are not here, or one has changed.
    """
    if why := missing():
        raise BenchError(why)
    manifest = _manifest()
    for name, sha256 in zip(_FILES, manifest.sha256, strict=True):
        path = _place() / f"{name}.npy"
        if not path.is_file() or read_digest(path) != sha256:
            raise BenchError(f"{path}: is not what was prepared: bench data prepare {NAME} --again")
    return manifest


# -------------------------------------------------------------------------------------------------- preparing


def prepare(*, partial: bool = False, again: bool = False, progress: Progress = silent) -> Manifest:
    """Make the ratings ready, whole or not at all.

    Args:
        partial: accept files with another number of ratings than the published ones.
        again: prepare them although it has been done.
        progress: is called with the number of domains that are read.

    Raises:
        BenchError: a file is missing, not whole or not in its layout (named), there are other ratings than
            the published ones and not ``partial``, a domain has no rows, or pyarrow is not installed.
    """
    if not again and missing() is None and ((done := _manifest()).complete or partial):
        return done
    if why := _absent():
        raise BenchError(f"{NAME}: {why}")
    found = _read_all(progress)
    wrong = _difference(found)
    if wrong and not partial:
        raise BenchError(f"{NAME}: {wrong} (in {CATALOG[NAME].folder}); --partial takes them as they are")
    arrays, users, items = _made(found, progress)
    place, work = _place(), root() / "prepared" / f".{NAME}"
    shutil.rmtree(work, ignore_errors=True)  # of a killed process
    try:
        work.mkdir(parents=True)
        manifest = _written(work, arrays, found, users, items, complete=wrong is None)
        # The old one goes first: for a moment there is none, never a mixture.
        shutil.rmtree(place, ignore_errors=True)
        work.rename(place)
    except OSError as e:
        raise BenchError(f"{place}: cannot be written: {e.strerror}") from e
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _read_all(progress: Progress) -> list[rating_files.Ratings]:
    """The files of all domains, which have to be of one edition."""
    found = []
    for i, name in enumerate(DOMAINS):
        found.append(rating_files.read(_raw(name)))
        progress(f"{NAME}: files", i + 1, len(DOMAINS))
    for name, domain in zip(DOMAINS, found, strict=True):
        if domain.edition != found[0].edition:
            raise BenchError(
                f"{_raw(name)}: is of the edition of {domain.edition}, but {_raw(DOMAINS[0]).name} is of that"
                f" of {found[0].edition}: bring all categories of one edition"
            )
    return found


def _difference(found: Sequence[rating_files.Ratings]) -> str | None:
    """How the numbers of ratings differ from the published ones, or None."""
    published = rating_files.COUNTS[found[0].edition]
    counts = {name: domain.lines for name, domain in zip(DOMAINS, found, strict=True)}
    wrong = [f"{d} {n:,} (published {published[d]:,})" for d, n in counts.items() if n != published[d]]
    return f"ratings, edition of {found[0].edition}: {', '.join(wrong)}" if wrong else None


def _made(found: Sequence[rating_files.Ratings], progress: Progress) -> tuple[Sequence[np.ndarray], int, int]:
    """Part, x, y and domain of every row in the order of the parts; and the numbers of users and items."""
    import numpy as np

    users, user_of = _joined([d.users.take(_often(d.user)) for d in found], [d.users for d in found])
    items, item_of = _joined([d.items for d in found], [d.items for d in found])
    rows = []
    for d, domain in enumerate(found):
        user, item = user_of[d][domain.user], item_of[d][domain.item]
        of_frequent = np.bincount(domain.user)[domain.user] >= LEAST
        chosen = np.flatnonzero(of_frequent)
        chosen = chosen[np.lexsort((item[chosen], user[chosen], domain.time[chosen]))]
        ordered = np.sort(domain.time)
        begins = ordered[[int(share * len(ordered)) for share in CUTS]]
        part = np.searchsorted(begins, domain.time[chosen], side="right")
        _check_parts(d, part)
        rows.append((part, user[chosen], item[chosen], _negatives(user[chosen], item[chosen], items, d)))
        progress(f"{NAME}: negatives", d + 1, len(DOMAINS))
    part = np.concatenate([np.repeat(part, 2) for part, *_ in rows])
    x = np.concatenate([np.stack([np.repeat(u, 2), np.stack([i, n], 1).ravel()], 1) for _, u, i, n in rows])
    y = np.tile(np.array([1, 0], np.uint8), len(x) // 2)
    domain_of = np.repeat(np.arange(len(rows), dtype=np.uint8), [2 * len(r[0]) for r in rows])
    order = np.random.default_rng(0).permutation(len(part))
    order = order[np.argsort(part[order], kind="stable")]
    return [part[order], x[order].astype(np.int32), y[order], domain_of[order]], users, items


def _check_parts(domain: int, part: np.ndarray) -> None:
    """Refuse a domain without rows for training, validation or test: nothing could be said of it."""
    for i, name in enumerate(("training", "validation", "test")):
        if not (part == i).any():
            raise BenchError(
                f"{_raw(DOMAINS[domain])}: no rating for {name} by a user with at least {LEAST} ratings in"
                f" {DOMAINS[domain]}: is it cut off?"
            )


def _often(user: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.flatnonzero(np.bincount(user) >= LEAST)


def _joined(names: Sequence[pa.Array], asked: Sequence[pa.Array]) -> tuple[int, list[np.ndarray]]:
    """The number of different ``names``, and for each array of ``asked`` its places among the sorted names.

    The place is -1 for what is none of them.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.unique(pa.concat_arrays(list(names)))
    found = found.take(pc.sort_indices(found))
    places = (pc.fill_null(pc.index_in(a, value_set=found), -1).to_numpy() for a in asked)
    return len(found), [p.astype(np.int64) for p in places]


def _negatives(user: np.ndarray, item: np.ndarray, items: int, domain: int) -> np.ndarray:
    """For each rating an item that its user has not rated in the domain, drawn from a fixed seed.

    Raises:
        BenchError: a user has rated nearly every item there is.
    """
    import numpy as np

    random = np.random.default_rng([0, domain])
    rated = np.unique(user * items + item)
    drawn: np.ndarray = random.integers(items, size=len(user))
    again = np.arange(len(user))
    for _ in range(_TRIES):
        pairs = user[again] * items + drawn[again]
        at = np.minimum(np.searchsorted(rated, pairs), len(rated) - 1)
        again = again[rated[at] == pairs]
        if not len(again):
            return drawn
        drawn[again] = random.integers(items, size=len(again))
    raise BenchError(f"{NAME}: a user of {DOMAINS[domain]} has rated nearly all of the {items:,} items")


def _written(
    work: Path,
    arrays: Sequence[np.ndarray],
    found: Sequence[rating_files.Ratings],
    users: int,
    items: int,
    *,
    complete: bool,
) -> Manifest:
    """Write the arrays and their manifest."""
    import numpy as np

    part, *written = arrays
    for name, values in zip(_FILES, written, strict=True):
        np.save(work / f"{name}.npy", values)
    manifest = Manifest(
        version=VERSION, domains=DOMAINS,
        rows=tuple(np.bincount(written[-1], minlength=len(DOMAINS)).tolist()),
        parts=tuple(np.bincount(part, minlength=3).tolist()), edition=found[0].edition,
        ratings=tuple(d.lines for d in found), repeated=tuple(d.repeated for d in found), complete=complete,
        users=users, items=items, sha256=tuple(read_digest(work / f"{f}.npy") for f in _FILES),
    )  # fmt: skip
    (work / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1) + "\n", encoding="utf-8")
    return manifest


def _place() -> Path:
    return root() / "prepared" / NAME


def _manifest() -> Manifest:
    return read_manifest(_place() / _MANIFEST, Manifest)
