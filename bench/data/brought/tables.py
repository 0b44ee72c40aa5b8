"""A table of the user's own with a binary label: CSV, TSV or Parquet, a row an example.

Everything in a text file is read as text, and what a column holds is decided by all of its values: numbers
with a fraction are dealt into buckets whose edges are quantiles of training, all else is a category, whole
numbers too, since most of them name something. A blank is a value of its own.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import packages
from bench.contract import BenchError
from bench.data.brought.entries import VERSION, Brought, Entry, command, entry, placed
from bench.data.preparing import Progress, silent
from bench.data.splitting import split_groups
from bench.data.text import ENCODING
from bench.errors import nearest
from bench.file_digest import read_digest

if TYPE_CHECKING:
    import numpy as np

#: Share of the rows in training, validation and test.
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
#: Buckets of a number, and from how many different values on it needs them.
BUCKETS = 32
#: A value that is seen fewer times in training is rare: in a small table, and from `LARGE` rows on.
RARE, LARGE, RARE_IN_LARGE = 2, 100_000, 10
#: Into how many stretches of as many rows a table that is split by time is cut: rows of one are a cluster.
STRETCHES = 1_000
#: What stands for no value, in text.
BLANK = frozenset({"", "NA", "NaN", "nan", "null", "NULL", "None"})
#: Two values of a label that say themselves which is positive, in small letters.
_POSITIVE = {frozenset(pair): pair[1] for pair in (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"))}
#: Ends of a file's name -> what separates its columns; "" of Parquet.
ENDS: Mapping[str, str] = {".csv": ",", ".tsv": "\t", ".parquet": ""}
#: How many names a message lists.
_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user says of a table.

    Attributes:
        label: the column of the label.
        positive: the value that is positive, or ``>=4``: from which number on it is; "" if that is clear.
        domains: the column of the domain; "" if there is none.
        time: the column by which it is split, oldest first; "" if it is not split by time.
        group: the column whose equal values come into one part; "" if there is none.
        without: columns that are left out.
        seed: of a split that is drawn.
    """

    label: str
    positive: str = ""
    domains: str = ""
    time: str = ""
    group: str = ""
    without: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a table: training, then validation, then test.

    Attributes:
        columns: field -> (n,) values, strings or, of buckets, integers.
        label: (n,) uint8 in {0, 1}.
        cuts: positions of the first validation row and of the first test row.
        rare: a value seen fewer times in training is rare.
        domain: (n,) strings, where the table has domains.
        cluster: (n,) strings, equal for rows that are not independent: of one group, of one stretch of time;
            None where the table is split by neither.
    """

    columns: Mapping[str, np.ndarray]
    label: np.ndarray
    cuts: tuple[int, int]
    rare: int
    domain: np.ndarray | None
    cluster: np.ndarray | None


def add(
    name: str, path: Path, asked: Asked, *, terms: str, progress: Progress = silent
) -> tuple[Entry, dict[str, bytes]]:
    """Check a table and its split; the entry, to which no lists belong.

    Raises:
        BenchError: the file cannot be read, a column is missing or of the wrong kind, or a part of the split
            has labels of one class; names file, line and column.
    """
    sha = _read_digest(name, path, progress)
    made = _opened(path, asked)
    sizes = [made.cuts[0], made.cuts[1] - made.cuts[0], len(made.label) - made.cuts[1]]
    positive = f"{made.label.mean():.1%} positive"
    parts = ", ".join(f"{n:,}" for n in sizes)
    found = f"{len(made.label):,} rows ({parts}), {len(made.columns)} fields, {positive}"
    if made.domain is not None:
        found += f", {len(set(made.domain.tolist()))} domains"
    return Entry(
        version=VERSION, name=name, kind="table", place=placed(path), bytes=path.stat().st_size, digest=sha,
        terms=terms, found=found,
        settings={**asdict(asked), "without": list(asked.without), "fields": list(made.columns)},
    ), {}  # fmt: skip


def read(name: str) -> Table:
    """The rows of a table, once its file is known to be the one that was added.

    Raises:
        BenchError: the table is not here, or is not what was added.
    """
    e = entry(name)
    source = data_source(name)
    if why := source.missing():
        raise BenchError(why)
    if _again(e, silent) != e.digest:
        raise BenchError(f"{name}: {e.path} is not what was added: {command(e)}")
    given = {k: v for k, v in e.settings.items() if k != "fields"}
    return _opened(e.path, Asked(**{**given, "without": tuple(given["without"])}))


def data_source(name: str) -> Brought:
    """The table as an entry of the catalogue."""
    return Brought(entry(name), _changed, _again)


def _changed(e: Entry) -> str | None:
    size = e.path.stat().st_size
    if size != e.bytes:
        return f"has {size:,} bytes, had {e.bytes:,} when it was added"
    return packages.missing(e.name, {"pyarrow": ()}, "paper") if e.path.suffix == ".parquet" else None


def _again(e: Entry, progress: Progress) -> str:
    return _read_digest(e.name, e.path, progress)


def _read_digest(name: str, path: Path, progress: Progress) -> str:
    if path.suffix.lower() not in ENDS:
        raise BenchError(f"--table {path}: expected a file that ends in {', '.join(ENDS)}")
    if not path.is_file():
        raise BenchError(f"--table {path}: {'is no file' if path.exists() else 'no such file'}")
    return read_digest(path, lambda done, total: progress(f"{name}: bytes", done, total))


# --------------------------------------------------------------------------------------------------- columns


def _opened(path: Path, asked: Asked) -> Table:
    """The rows of a file in the order of their parts, as text and buckets."""
    columns = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    _check_columns(path, columns, asked)
    label = _label(path, columns[asked.label], asked.positive)
    order, cuts = _split(path, columns, asked)
    label = label[order]
    domain = columns[asked.domains][order].astype(str) if asked.domains else None
    _check_parts(path, asked, label, cuts, domain)
    own = {asked.label, asked.domains, asked.time, asked.group, *asked.without}
    fields = {c: _field(values[order], cuts[0]) for c, values in columns.items() if c not in own}
    if not fields:
        raise BenchError(f"{path}: no column is left to predict {asked.label!r} from")
    return Table(
        columns=fields, label=label, cuts=cuts, rare=RARE if len(label) < LARGE else RARE_IN_LARGE,
        domain=domain, cluster=_clusters(columns, asked, order),
    )  # fmt: skip


def _clusters(columns: Mapping[str, np.ndarray], asked: Asked, order: np.ndarray) -> np.ndarray | None:
    """What rows that are not independent have in common: their group, or the stretch of time they lie in."""
    import numpy as np

    if asked.group:
        return np.char.add(f"{asked.group}/", columns[asked.group][order].astype(str))
    if asked.time:
        return np.char.add(f"{asked.time}/", (np.arange(len(order)) * STRETCHES // len(order)).astype(str))
    return None


def _text(path: Path) -> dict[str, np.ndarray]:
    """The columns of a file of text; every value as it stands there, an object array of strings.

    Raises:
        BenchError: it is no table, a column has no name or another's, or a line has too few or too many
            values; names the line.
    """
    rows: list[list[str]] = []
    at = empty = 0
    try:
        with path.open(encoding=ENCODING, newline="") as file:
            reader = csv.reader(_without_zeros(file), delimiter=ENDS[path.suffix.lower()], strict=True)
            for row in reader:
                at = reader.line_num
                if not row:  # at the end of a file it is nothing, between rows it is a mistake
                    empty = empty or at
                    continue
                if empty:
                    raise BenchError(f"{path}:{empty}: an empty line between the rows")
                if rows and len(row) != len(rows[0]):
                    raise BenchError(f"{path}:{at}: {len(row)} values, expected {len(rows[0])}, one a column")
                rows.append(row)
    except UnicodeDecodeError as e:
        raise BenchError(
            f"{path}:{at + 1}: not UTF-8 ({e.reason}), here or soon after: save it as UTF-8"
        ) from e
    except (csv.Error, OSError) as e:
        raise BenchError(f"{path}:{at + 1}: cannot be read as a table: {e}") from e
    header = _named(path, rows[0] if rows else [])
    if len(rows) < 2:
        raise BenchError(f"{path}: no row below the names of the columns")
    return {name: _objects(values) for name, values in zip(header, zip(*rows[1:], strict=True), strict=True)}


def _without_zeros(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a text; a zero byte, which ends a value for some readers, makes it none."""
    for line in lines:
        if "\0" in line:
            raise csv.Error("it holds a zero byte")
        yield line


def _named(path: Path, header: Sequence[str]) -> Sequence[str]:
    """The names of the columns, if each has one of its own."""
    if blank := [i for i, name in enumerate(header, 1) if not name.strip()]:
        raise BenchError(f"{path}:1: column {blank[0]} has no name")
    if again := [name for i, name in enumerate(header) if name in header[:i]]:
        raise BenchError(f"{path}:1: two columns are named {again[0]!r}")
    if not header:
        raise BenchError(f"{path}: is empty, expected a line with the names of the columns")
    return header


def _objects(values: Sequence[Any]) -> np.ndarray:
    """An array of objects; one string is kept for all that are equal."""
    import numpy as np

    same: dict[Any, Any] = {}
    found = np.empty(len(values), object)
    found[:] = [same.setdefault(v, v) for v in values]
    return found


def _parquet(path: Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file as text, but for numbers with a fraction, which stay numbers.

    Raises:
        BenchError: it cannot be read, has no rows, or a column holds more than one value a row.
    """
    if why := packages.missing(str(path), {"pyarrow": ()}, "paper"):
        raise BenchError(why)
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as e:
        raise BenchError(f"{path}: cannot be read as Parquet: {str(e) or type(e).__name__}") from e
    if not table.num_rows:
        raise BenchError(f"{path}: has no rows")
    found: dict[str, np.ndarray] = {}
    for name, column in zip(_named(path, table.column_names), table.columns, strict=True):
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            numbers = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
            if np.isinf(numbers).any():
                at = int(np.flatnonzero(np.isinf(numbers))[0])
                raise BenchError(f"{path}: row {at + 1} of column {name!r} is infinite, expected numbers")
            found[name] = numbers
            continue
        try:
            texts = column.cast(pa.string()).to_pylist()
        except (pa.ArrowException, UnicodeDecodeError) as e:
            raise BenchError(
                f"{path}: column {name!r} holds {kind}, expected one text or number a row"
            ) from e
        found[name] = _objects(["" if t is None else t for t in texts])
    return found


def _check_columns(path: Path, columns: Mapping[str, np.ndarray], asked: Asked) -> None:
    """Refuse columns that are not there, and one that is asked to be two things."""
    roles = {"label": asked.label, "domains": asked.domains, "time": asked.time, "group": asked.group}
    for option, name in (*roles.items(), *(("without", c) for c in asked.without)):
        if name and name not in columns:
            has = ", ".join(list(columns)[:_MOST])
            if len(columns) == 1 and ";" in has:
                has += " (a .csv is separated by commas, a .tsv by tabs, neither by semicolons)"
            raise BenchError(
                f"--{option} {name}: no such column in {path}{nearest(name, columns)}; it has {has}"
            )
    used = [name for name in (*roles.values(), *asked.without) if name]
    if twice := [name for i, name in enumerate(used) if name in used[:i]]:
        raise BenchError(f"{path}: column {twice[0]!r} is named by two options")
    if asked.time and asked.group:
        raise BenchError("--time and --group each say how the table is split: give one of them")
    for option, name in roles.items():
        if name and (at := _first_blank(columns[name])) is not None and option != "group":
            raise BenchError(f"{path}: row {at + 1} has no {option} (column {name!r})")


def _first_blank(values: np.ndarray) -> int | None:
    """The position of the first value that is none."""
    return next((i for i, v in enumerate(values.tolist()) if _blank(v)), None)


def _blank(value: Any) -> bool:
    return math.isnan(value) if isinstance(value, float) else value in BLANK


def _number(value: Any) -> float | None:
    """A value as a number, None if it is none; NaN is no value and infinity no number."""
    if _blank(value):
        return math.nan
    try:
        # Not ``1_000``, which Python reads and nobody means.
        found = math.inf if isinstance(value, str) and "_" in value else float(value)
    except ValueError:
        return None
    return None if math.isinf(found) else found


def _field(values: np.ndarray, training: int) -> np.ndarray:
    """A column as it enters a vocabulary: texts, or buckets of numbers with a fraction; -1 is no value."""
    import numpy as np

    numbers = [_number(v) for v in dict.fromkeys(values.tolist())]
    real = [n for n in numbers if n is not None and not math.isnan(n)]
    if None in numbers or all(n.is_integer() for n in real):
        return values.astype(str) if values.dtype == object else _whole(values)
    every = np.array([_number(v) for v in values.tolist()], np.float64)
    seen = every[:training][~np.isnan(every[:training])]
    edges = np.unique(np.quantile(seen, np.linspace(0, 1, BUCKETS + 1)[1:-1])) if len(seen) else np.empty(0)
    return np.where(np.isnan(every), -1, np.searchsorted(edges, every, side="right"))


def _whole(values: np.ndarray) -> np.ndarray:
    """Whole numbers of a Parquet file that has them as numbers with a fraction, since some are missing."""
    return _objects(["" if math.isnan(v) else f"{v:.0f}" for v in values.tolist()]).astype(str)


def _spelt(value: Any) -> str:
    """A label as it is compared: ``1.0`` is ``1``."""
    number = _number(value)
    if number is None or math.isnan(number) or not number.is_integer():
        return str(value)
    return f"{number:.0f}"


def _label(path: Path, values: np.ndarray, positive: str) -> np.ndarray:
    """The label, (n,) uint8.

    Raises:
        BenchError: it has other than two values and nothing says which are positive, or all are of one class.
    """
    import numpy as np

    texts = [_spelt(v) for v in values.tolist()]
    found = set(texts)
    if positive.startswith(">="):
        least, numbers = _number(positive[2:]), {t: _number(t) for t in found}
        if least is None or math.isnan(least):
            raise BenchError(f"--positive {positive}: expected a number after >=")
        if strange := sorted(t for t, n in numbers.items() if n is None):
            raise BenchError(
                f"--positive {positive}: the label has the value {strange[0]!r}, which is no number"
            )
        chosen = {t for t, n in numbers.items() if n is not None and n >= least}
    elif positive:
        if _spelt(positive) not in found:
            raise BenchError(f"--positive {positive}: no row has that label{nearest(positive, found)}")
        chosen = {_spelt(positive)}
    else:
        by_word = {t.lower(): t for t in found}
        word = _POSITIVE.get(frozenset(by_word))
        if word is None and len(found) > 1:
            listed = ", ".join(sorted(found)[:_MOST])
            raise BenchError(
                f"{path}: the label has the values {listed}, expected two such as 0 and 1; --positive VALUE"
                " says which is positive, --positive '>=4' from which number on"
            )
        chosen = {by_word[word]} if word is not None else set()
    label = np.array([t in chosen for t in texts], np.uint8)
    if len(set(label.tolist())) < 2:
        raise BenchError(
            f"{path}: all {len(label):,} rows are of one class"
            f" ({'positive' if label[0] else 'negative'}), so there is nothing to predict"
        )
    return label


# ----------------------------------------------------------------------------------------------------- split


def _split(path: Path, columns: Mapping[str, np.ndarray], asked: Asked) -> tuple[np.ndarray, tuple[int, int]]:
    """The order of the rows, and where validation and test begin in it.

    By time: the oldest rows are for training, and those of one time come into one part. By a group, or if
    nothing is said by the row itself, since copies of a row must not be tested on: a draw of whole units.
    """
    import numpy as np
    import pandas as pd

    n = len(columns[asked.label])
    shares = tuple(SHARES.values())
    if asked.time:
        times = _times(path, columns[asked.time])
        order = np.argsort(times, kind="stable")
        ascending = times[order]
        at = [round(n * shares[0]), round(n * (shares[0] + shares[1]))]
        first, second = (int(np.searchsorted(ascending, ascending[min(c, n - 1)], side="left")) for c in at)
        return order, (first, second)
    if asked.group:
        units = columns[asked.group].astype(str)
    else:
        # Rows that are equal in every column are one unit.
        units = pd.util.hash_pandas_object(pd.DataFrame(columns), index=False).to_numpy().astype(str)
    of, sizes = np.unique(units, return_counts=True)
    assigned = split_groups(dict(zip(of.tolist(), sizes.tolist(), strict=True)), SHARES, str(asked.seed))
    number = {p: i for i, p in enumerate(SHARES)}
    part = np.array([number[assigned[u]] for u in units.tolist()])
    # Within a part by a draw: what a file is sorted by is no business of a method's.
    drawn = np.random.default_rng(asked.seed).permutation(n)
    order = drawn[np.argsort(part[drawn], kind="stable")]
    return order, (int((part == 0).sum()), int((part <= 1).sum()))


def _times(path: Path, values: np.ndarray) -> np.ndarray:
    """Times as numbers: numbers as they are, dates of ISO 8601 in nanoseconds.

    Raises:
        BenchError: a value is neither.
    """
    import numpy as np
    import pandas as pd

    numbers = {v: _number(v) for v in set(values.tolist())}
    if all(n is not None for n in numbers.values()):
        return np.array([numbers[v] for v in values.tolist()], np.float64)
    try:
        dates = pd.to_datetime(pd.Series(values), format="ISO8601", utc=True)
    except (ValueError, OverflowError) as e:
        raise BenchError(
            f"{path}: a time is neither a number nor a date such as 2024-01-31 or 2024-01-31T12:00: {e}"
        ) from e
    return dates.astype("int64").to_numpy()


def _check_parts(
    path: Path, asked: Asked, label: np.ndarray, cuts: tuple[int, int], domain: np.ndarray | None
) -> None:
    """Refuse a split of which a part, or a domain in a part, is empty or of one class."""
    import numpy as np

    by = f"--time {asked.time}" if asked.time else f"--group {asked.group}" if asked.group else "a draw"
    domains = [None] if domain is None else [None, *sorted(set(domain.tolist()))]
    for name, rows in zip(SHARES, np.split(np.arange(len(label)), cuts), strict=True):
        for d in domains:
            mine = label[rows] if d is None or domain is None else label[rows][domain[rows] == d]
            if len(set(mine.tolist())) < 2:
                of = "" if d is None else f" of domain {d!r}"
                raise BenchError(
                    f"{path}: split by {by}, {name} has {len(mine):,} rows{of}, {int(mine.sum()):,} of them"
                    " positive; expected rows of both classes: more rows, or another split"
                )
