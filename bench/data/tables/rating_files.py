"""Amazon's files of ratings as they are published: one a category, in the editions of 2014 and of 2018.

Both are comma-separated without a header. In 2014 a line is user, item, rating, time, in 2018 item, user,
rating, time; files of 2014 are called ``ratings_<Category>.csv``, those of 2018 ``<Category>.csv``. Which
edition a file is of is told by its content, since files are renamed: items have Amazon's numbers, ten digits
or letters as an ISBN or after a B, which no user has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contract import BenchError
from bench.data.tables.ctr_text import check_whole, explained

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: Edition -> columns of a line.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "2014": ("user", "item", "rating", "time"),
    "2018": ("item", "user", "rating", "time"),
}
#: Edition -> category -> ratings, as the pages of the data state them (general knowledge, verify).
COUNTS: Mapping[str, Mapping[str, int]] = {
    "2014": {
        "Books": 22_507_155, "Electronics": 7_824_482, "Movies_and_TV": 4_607_047, "Video_Games": 1_324_753,
        "Musical_Instruments": 500_176,
    },
    "2018": {
        "Books": 51_311_621, "Electronics": 20_994_353, "Movies_and_TV": 8_765_568, "Video_Games": 2_565_349,
        "Musical_Instruments": 1_512_530,
    },
}  # fmt: skip
_ITEM = r"^(B[0-9A-Z]{9}|[0-9]{9}[0-9X])$"
#: Shares of a column that looks like items, from which it is that column, and up to which it is not.
_IS, _IS_NOT = 0.9, 0.1
#: Seconds: the first rating is of 1995; later than 2100 are milliseconds, as in the edition of 2023.
_TIMES = (789_000_000, 4_102_444_800)


@dataclass(frozen=True, slots=True)
class Ratings:
    """One file, each rating once.

    Attributes:
        edition: of `COLUMNS`.
        lines: how many ratings the file holds.
        users, items: names, once each.
        user, item: (n,) positions in them.
        time: (n,) seconds.
    """

    edition: str
    lines: int
    users: pa.Array
    items: pa.Array
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray

    @property
    def repeated(self) -> int:
        """How many lines rate an item that the same user had rated in this file before."""
        return self.lines - len(self.user)


def raw_file(folder: Path, category: str) -> Path:
    """The file of a category, as either edition calls it; if there is none, as that of 2014 does."""
    names = (f"ratings_{category}.csv", f"{category}.csv")
    return next((path for n in names if (path := folder / n).is_file()), folder / names[0])


def read(path: Path) -> Ratings:
    """Parse one file. Of several ratings of an item by one user the first counts.

    Raises:
        BenchError: it is not whole, its columns are of no edition, or a line does not fit (named); or there
            is no pyarrow.
    """
    import numpy as np

    check_whole(path)
    first, second, stars, seconds = _columns(path)
    edition = _edition(path, first, second)
    user, item = (first, second) if edition == "2014" else (second, first)
    for column, name in ((user, "user"), (item, "item")):
        if (blank := _blank(column)) is not None:
            raise BenchError(f"{path}:{blank + 1}: column {name} is empty")
    rating, time = stars.to_numpy(), seconds.to_numpy()
    _check(path, "rating", rating, ~((rating >= 1) & (rating <= 5)), "1 to 5 stars")
    _check(
        path, "time", time, (time < _TIMES[0]) | (time > _TIMES[1]), "seconds since 1970, of 1995 or later"
    )
    at = user.indices.to_numpy(), item.indices.to_numpy()
    order = np.lexsort((np.arange(len(time)), time))
    pairs = (at[0].astype(np.int64) * len(item.dictionary) + at[1])[order]
    kept = np.sort(order[np.unique(pairs, return_index=True)[1]])
    return Ratings(
        edition, len(time), user.dictionary, item.dictionary, at[0][kept], at[1][kept], time[kept]
    )  # fmt: skip


def _columns(path: Path) -> list[pa.Array]:
    """The four columns, of which the first two are dictionaries of names."""
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ModuleNotFoundError as e:
        raise BenchError(f"preparing data takes pyarrow: pip install 'gridbench[paper]' ({e})") from e
    name = pa.dictionary(pa.int32(), pa.string())
    columns = ("first", "second", "rating", "time")
    try:
        table = csv.read_csv(
            path,
            # One thread: only then does pyarrow know the number of a bad line.
            read_options=csv.ReadOptions(column_names=columns, use_threads=False),
            parse_options=csv.ParseOptions(quote_char=False, double_quote=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=dict(zip(columns, (name, name, pa.float64(), pa.int64()), strict=True)),
                null_values=[],
            ),
        )
    except (pa.ArrowInvalid, OSError) as e:
        raise BenchError(explained(path, columns, "", ",", str(e))) from e
    table = table.unify_dictionaries().combine_chunks()
    return [table[c].chunk(0) for c in columns]


def _edition(path: Path, first: pa.Array, second: pa.Array) -> str:
    """Which edition a file is of, by the column in which items are."""
    a, b = _items(first), _items(second)
    if b >= _IS and a <= _IS_NOT:
        return "2014"
    if a >= _IS and b <= _IS_NOT:
        return "2018"
    raise BenchError(
        f"{path}: cannot tell user from item: Amazon's item numbers are {a:.0%} of the names in column 1 and"
        f" {b:.0%} of those in column 2, expected user,item,… (2014) or item,user,… (2018)"
    )


def _items(column: pa.Array) -> float:
    """The share of a column's names that have the form of an item's number."""
    import pyarrow.compute as pc

    return float(pc.mean(pc.match_substring_regex(column.dictionary, _ITEM).cast("float64")).as_py())


def _blank(column: pa.Array) -> int | None:
    """The first row whose name is empty, or None."""
    import numpy as np
    import pyarrow.compute as pc

    empty = np.flatnonzero(pc.equal(pc.utf8_trim_whitespace(column.dictionary), "").to_numpy(False))
    rows = np.flatnonzero(np.isin(column.indices.to_numpy(), empty)) if len(empty) else empty
    return int(rows[0]) if len(rows) else None


def _check(path: Path, column: str, values: np.ndarray, bad: np.ndarray, expected: str) -> None:
    """Raise `BenchError` that names the first line whose value is bad."""
    if bad.any():
        at = int(bad.argmax())
        raise BenchError(f"{path}:{at + 1}: column {column}: {values[at]!s}, expected {expected}")
