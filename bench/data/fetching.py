"""Data that a command can bring: the copies that are fetched, by whom, and into which folder.

Most data sets of the papers want a login or a consent, so that only the user can bring them. What is fetched
here is public; it is never part of this package or of its repository.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import packages
from bench.data.catalog import CATALOG, root
from bench.errors import BenchError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of somebody else's data, which several data sets may be read from.

    Attributes:
        source: the address it comes from.
        download: writes it into a folder.
        needs: distribution -> nothing, for it is only imported: what downloads it.
        extra: the extra of this package that the distributions belong to.
    """

    source: str
    download: Callable[[Path], None]
    needs: Mapping[str, tuple[str, ...]]
    extra: str


def _pysteps_data(folder: Path) -> None:
    """Let pysteps download and unpack its example data; it shows how far it is."""
    from urllib.request import urlcleanup

    from pysteps.datasets import download_pysteps_data

    try:
        download_pysteps_data(str(folder), force=True)
    finally:
        urlcleanup()  # the archive of 335 MB, which it leaves among the temporary files


COPIES: Mapping[str, Copy] = {
    "pysteps-data": Copy(
        source="https://github.com/pySTEPS/pysteps-data",
        download=_pysteps_data,
        needs={"pysteps": ()},
        extra="radar",
    ),
}


def fetch(name: str, *, again: bool = False) -> str:
    """Bring a copy, whole or not at all; returns what there is now and what comes next.

    Args:
        name: of the copy, a key of `COPIES`; its folder below `root` is called so.
        again: fetch it although it is there; files of the same name are replaced, others are kept.

    Raises:
        BenchError: there is no such copy, it is there already, a package is missing, or it cannot be fetched.
    """
    copy, folder = _copy(name), root() / name
    if why := packages.missing(name, copy.needs, copy.extra):
        raise BenchError(why)
    if folder.exists() and not again:
        raise BenchError(
            f"{name}: {folder} is there already: bench data fetch {name} --again replaces its files"
        )
    part = root() / f".{name}"
    shutil.rmtree(part, ignore_errors=True)  # of a killed process
    try:
        part.mkdir(parents=True)
        copy.download(part)
        shutil.copytree(part, folder, dirs_exist_ok=True) if folder.exists() else part.rename(folder)
    # A broken archive is no OSError; all that a network or a disk does is one.
    except Exception as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else e
        raise BenchError(
            f"{name}: cannot be fetched from {copy.source}: {reason}: where there is no network, bring a copy"
            f" of it yourself, as {folder}"
        ) from e
    finally:
        shutil.rmtree(part, ignore_errors=True)
    files = sum(p.is_file() for p in folder.rglob("*"))
    sets = " ".join(d.name for d in CATALOG.values() if d.place == name)
    return f"{name}: {files:,} files in {folder}, from {copy.source}; next: bench data prepare {sets}"


def _copy(name: str) -> Copy:
    """A copy by its name, or what to do instead.

    Raises:
        BenchError: there is no copy of this name; says where a data set of this name comes from.
    """
    if name in COPIES:
        return COPIES[name]
    if name not in CATALOG:
        raise BenchError(f"no copy {name!r} can be fetched{nearest(name, COPIES)}")
    data_set = CATALOG[name]
    if data_set.place in COPIES:
        raise BenchError(f"{name} comes with {data_set.place}: bench data fetch {data_set.place}")
    raise BenchError(f"{name} cannot be fetched by a command; it comes from: {data_set.get}")
