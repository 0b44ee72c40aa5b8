"""FMoW in the layout of WILDS 1.1: satellite images in one folder, their facts in a table, row by row.

Only images before 2013 are listed: the part of WILDS whose training, validation and test images are of the
same years. A group is ``<part>/<region>``. Images of no region are in groups of ``Other``, as in WILDS.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.images.image_files import Entry, Images, class_name, collect, sizes_of
from bench.data.images.layout import Layout
from bench.data.preparing import Progress, silent
from bench.data.text import ENCODING

if TYPE_CHECKING:
    import pandas as pd

#: The five regions that the table of countries knows, and what WILDS calls the rest.
REGIONS = ("Africa", "Americas", "Asia", "Europe", "Oceania")
OTHER = "Other"
PARTS = ("train", "val", "test")
#: Images of later years are out of distribution in WILDS: 2013 to 2015 its validation, then its test.
BEFORE = "2013-01-01"

_TABLE, _COUNTRIES, _IMAGES = "rgb_metadata.csv", "country_code_mapping.csv", "images"
_COLUMNS = {_TABLE: ("split", "country_code", "category", "timestamp"), _COUNTRIES: ("alpha-3", "region")}


def scan(name: str, progress: Progress = silent) -> Images:
    """List every image before 2013, by part, region and row of the table.

    Raises:
        BenchError: a table lacks a column or has a wrong value, or an image is missing; names which.
    """
    import numpy as np
    import pandas as pd

    folder = CATALOG[name].folder
    table, countries = _read(name, folder, _TABLE), _read(name, folder, _COUNTRIES)
    known = dict(zip(countries["alpha-3"], countries["region"], strict=True))
    region = table["country_code"].map(known)
    region = region.where(region.isin(REGIONS), OTHER)
    time = pd.to_datetime(table["timestamp"], utc=True, errors="coerce", format="ISO8601")
    if time.isna().any():
        row = int(np.flatnonzero(time.isna())[0])
        raise BenchError(
            f"{name}: {folder / _TABLE}:{row + 2}: timestamp {table['timestamp'][row]!r} is no time"
        )
    wanted = np.flatnonzero((time < pd.Timestamp(BEFORE, tz="UTC")) & table["split"].isin(PARTS))
    groups = [f"{part}/{r}" for part in PARTS for r in (*REGIONS, OTHER)]
    classes = sorted(set(table["category"]))
    group_of, class_of = {g: i for i, g in enumerate(groups)}, {c: i for i, c in enumerate(classes)}
    files = [f"{_IMAGES}/rgb_img_{row}.png" for row in wanted]
    progress(f"{name}: images", 0, len(files))
    facts = zip(table["split"].iloc[wanted], region.iloc[wanted], table["category"].iloc[wanted], strict=True)
    entries = [
        Entry(group_of[f"{part}/{r}"], class_of[category], file, size)
        for (part, r, category), file, size in zip(
            facts, files, sizes_of(folder, files, folder / _TABLE), strict=True
        )
    ]
    progress(f"{name}: images", len(files), len(files))
    entries.sort(key=lambda e: e.group)  # stable: rows stay in the table's order
    return collect(folder, groups, [class_name(c) for c in classes], entries)


def _read(name: str, folder: Path, file: str) -> pd.DataFrame:
    import pandas as pd

    path = folder / file
    try:
        # No value stands for a missing one: a country's code may read as one.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=ENCODING)
    except (OSError, ValueError) as e:  # pandas' parser errors are ValueErrors
        raise BenchError(f"{name}: {path}: not a readable CSV file: {e}") from e
    for column in _COLUMNS[file]:
        if column not in table:
            raise BenchError(
                f"{name}: {path}: no column {column!r}; expected {', '.join(_COLUMNS[file])};"
                f" found {', '.join(table.columns[:12])}"
            )
    return table


#: Counts: general knowledge of WILDS (its training, in-distribution validation and test), verify. They are of
#: images before 2013, those of no region included. No prompt is published.
LAYOUTS: dict[str, Layout] = {
    "fmow": Layout(
        places=(_IMAGES, _TABLE, _COUNTRIES), scan=scan, classes=62,
        counts=dict(zip(PARTS, (76_863, 11_483, 11_327), strict=True)),
        template="a satellite image of a {}.",
    ),
}  # fmt: skip
