"""The flights of 2013 with their day known: a completion task, never forecasting.

Rows are split at random, as the multi-embedding paper splits its click logs: a test row is a flight missing
from a table in which the other flights of its day stand. What a model can learn of a single day, such as a
storm over one airport, it may use. Nobody has these facts before departure; `bench.data.tables.tabular` has
the same flights split by time, where there is next to nothing to find beyond a logistic regression.
"""

from __future__ import annotations

from bench.contract import digest
from bench.data.source import DataSource, Shipped
from bench.data.tables import tabular
from bench.data.tables.tabular import Events

#: Raise when the fields or the split change: records made before become stale.
VERSION = 1
#: Fields out of `tabular`'s flights; weather and weekday are dropped, since the day of the year holds both.
KEPT = ("carrier", "flight", "tailnum", "origin", "dest", "sched_dep")
FIELDS = (*KEPT, "day")
_SEED = 2_013


def read() -> Events:
    """327,346 flights in an order drawn by a fixed seed, split 8:1:1.

    Fields: `KEPT`, and ``day``, days since the start of the year. A value is rare as among the other flights.
    """
    import numpy as np

    flights = tabular.read("flights")
    assert flights.day is not None
    n = len(flights.label)
    order = np.random.default_rng(_SEED).permutation(n)
    columns = {name: flights.columns[name][order] for name in KEPT}
    day = flights.day[order]
    columns["day"] = (day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return Events(
        columns=columns,
        label=flights.label[order],
        cuts=(int(0.8 * n), int(0.9 * n)),
        rare=flights.rare,
    )


def missing() -> str | None:
    """Why the flights cannot be read here and the command that helps, or None."""
    return tabular.missing("flights")


def fingerprint() -> str:
    """16 hexadecimal digits over the flights' and `VERSION`."""
    return digest({"version": VERSION, "flights": tabular.fingerprint("flights")})


def data_source(name: str) -> DataSource:
    """The data set as an entry of the catalogue."""
    source = tabular.SOURCES["flights"]
    needs = {source.distribution: source.files}
    return Shipped(name=name, why_missing=missing, identity=fingerprint, needs=needs)
