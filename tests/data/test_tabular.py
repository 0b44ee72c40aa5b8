"""The tables that ship in packages: counts, splits, and what training may know."""

import numpy as np
import pytest

from bench.contract import Task
from bench.data.catalog import CATALOG
from bench.data.tables import flights_day, tabular
from bench.tracks.common.fields import encode_fields
from bench.tracks.embedding_scale.settings import Run
from bench.tracks.embedding_scale.sources import tables
from bench.tracks.embedding_scale.sources.tables import split


@pytest.mark.parametrize(
    ("name", "rows", "positive", "sizes"),
    [
        ("movielens", 100_004, 51_568, {"user": 671, "film": 9_066}),
        ("insteval", 73_421, 32_675, {"student": 2_972, "lecturer": 1_128, "dept": 14}),
    ],
)
def test_counts(name, rows, positive, sizes):
    events = tabular.read(name)
    assert len(events.label) == rows
    assert int(events.label.sum()) == positive
    assert tuple(events.columns) == tabular.SOURCES[name].fields
    assert {k: len(np.unique(events.columns[k])) for k in sizes} == sizes
    assert name in CATALOG


def test_movielens_is_split_by_time():
    events = tabular.read("movielens")
    train, val, test = split(events, 0)
    day = events.day
    assert day[train].max() < day[val].min() <= day[val].max() < day[test].min()
    assert 0.78 < len(train) / len(day) < 0.82
    assert 0.09 < len(test) / len(day) < 0.11


def test_insteval_has_no_time_and_is_split_at_random_the_same_way_every_time():
    events, again = tabular.read("insteval"), tabular.read("insteval")
    assert events.day is None
    train, val, test = split(events, 0)
    assert np.array_equal(np.concatenate([train, val, test]), np.arange(len(events.label)))
    assert all(np.array_equal(events.columns[k], again.columns[k]) for k in events.columns)
    rates = [events.label[part].mean() for part in (train, val, test)]
    assert max(rates) - min(rates) < 0.02


def test_flights_with_their_day_are_the_flights_in_an_order_of_their_own():
    events, again, flights = flights_day.read(), flights_day.read(), tabular.read("flights")
    assert tuple(events.columns) == flights_day.FIELDS
    assert all(np.array_equal(events.columns[k], again.columns[k]) for k in events.columns)
    assert (len(events.label), events.label.sum()) == (len(flights.label), flights.label.sum())
    late = np.bincount(events.columns["day"], weights=events.label)
    first = np.datetime64("2013-01-01")
    assert np.array_equal(late, np.bincount((flights.day - first).astype(int), weights=flights.label))
    assert len(late) == 365
    train, val, test = split(events, 0)
    assert (len(train), len(val), len(test)) == (261_876, 32_735, 32_735)
    for part in (train, val, test):
        assert len(np.unique(events.columns["day"][part])) == 365, "every day is in every part: completion"


@pytest.mark.parametrize("name", ["movielens", "insteval"])
def test_the_vocabulary_is_of_training_and_the_labels_belong_to_the_rows(name):
    events = tabular.read(name)
    train, val, _ = split(events, 0)
    x, cardinalities = encode_fields(events.columns, train, events.rare)
    for column, values, size in zip(x.T, events.columns.values(), cardinalities, strict=True):
        assert column.max() < size
        seen, counts = np.unique(values[train], return_counts=True)
        frequent = set(seen[counts >= events.rare])
        assert {v for v, c in zip(values[val], column[val], strict=True) if c > 0} <= frequent
    task = Task(name=f"{name}-4x", params={"dataset": name, "scale": 4})
    data, truth = tables.ctr_data(task, Run()), tables.truth(task, Run())
    assert np.array_equal(data.val_y, truth.val_y)
    assert len(truth.test_y) == len(data.test_x)
    assert not any("test_y" in f for f in data.__dataclass_fields__)
