"""The track `multi_domain` from outside: tasks, what an answer has to be, what the scorer makes of it."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from bench.board.arrays import data_set
from bench.board.paper_figures import read_paper_figures
from bench.contract import AnswerError, BenchError, Task
from bench.registry import Registry
from bench.suite import Suite
from bench.tracks.common.metrics import balanced_accuracy
from bench.tracks.multi_domain import metrics, settings
from bench.tracks.multi_domain.data import Truth
from bench.tracks.multi_domain.track import TRACK

ROOT = Path(__file__).parents[3]
IMAGES = Task(name="digits", params={"dataset": "digits"})
TABLE = Task(name="insteval", params={"dataset": "insteval"})


def grid(profile):
    suite = Suite.read(ROOT / "bench.yaml")
    return settings.Grid(**suite.tracks["multi_domain"].profiles[profile].grid)


# ------------------------------------------------------------------------------------------------------ tasks


def test_the_tasks_of_both_profiles():
    assert [(t.name, t.data, t.group) for t in TRACK.tasks(grid("laptop"))] == [
        ("emoji", "emoji", "pictures"),
        ("digits", "digits", "pictures"),
        ("digits-unequal", "digits", "pictures"),
        ("digits-conflict", "digits", "pictures"),
        ("insteval", "insteval", "tables"),
        ("flights", "flights", "tables"),
    ]
    assert [(t.name, t.group) for t in TRACK.tasks(grid("paper"))] == [
        ("office-home", "pictures"), ("domain-net", "pictures"), ("fmow", "pictures"), ("amazon", "tables"),
    ]  # fmt: skip


def test_the_claims_are_about_rows_and_tasks_that_there_are():
    rows = set(Registry().rows("multi_domain"))
    tasks = [t.name for t in TRACK.tasks(grid("laptop"))]
    for claim in TRACK.claims:
        assert {*claim.rows, *claim.over} <= rows
        assert all(fnmatch.filter(tasks, pattern) for pattern in claim.tasks)
        assert claim.paper is None, "no figure of the paper could be sourced"


def test_a_mistake_in_the_grid_names_the_nearest():
    with pytest.raises(
        BenchError, match=r"grid\.datasets: nothing is named 'office_home'; did you mean 'office-home'"
    ):
        TRACK.tasks(settings.Grid(datasets=("digits", "office_home")))


def test_the_paper_grid_says_of_every_task_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    said = {t.name: TRACK.missing(t, settings.Run()) for t in TRACK.tasks(grid("paper"))}
    assert f"no folder office_home in {tmp_path}" in said["office-home"]
    assert f"no folder domain_net in {tmp_path}" in said["domain-net"]
    assert f"no folder fmow_v1.1 in {tmp_path}" in said["fmow"]
    assert f"no file ratings_Books.csv in {tmp_path / 'amazon'}" in said["amazon"]
    assert all("get it from" in why and "then: bench data prepare" in why for why in said.values())


def test_own_numbers_replace_those_of_the_recipe():
    plain = settings.recipe("digits", settings.Run())
    assert plain == settings.RECIPES["digits"]
    own = settings.recipe("digits", settings.Run(steps=7, lr=0.5))
    assert (own.steps, own.lr) == (7, 0.5)
    assert (own.batch, own.head_lr, own.hidden) == (plain.batch, plain.head_lr, plain.hidden)


def test_the_board_names_what_is_assumed_and_what_is_a_proxy():
    laptop = TRACK.notes(TRACK.tasks(grid("laptop")))
    assert "the three phases" in laptop["assumed"]
    assert "no recommender's log" in laptop["flights"]
    assert "real digits with permuted labels" in laptop["digits-conflict"]
    assert "amazon" not in laptop
    assert TRACK.notes(TRACK.tasks(grid("paper")))["amazon"].startswith("a proxy")


def test_nothing_is_said_to_be_published():
    assert read_paper_figures(ROOT / "results" / "published" / "multi_domain.csv") == ()
    assert "published/multi_domain.csv" in (ROOT / "results" / "README.md").read_text()


# ---------------------------------------------------------------------------------------------------- metrics


@pytest.mark.filterwarnings("ignore:y_pred contains classes")  # classes that are guessed only: left out
@pytest.mark.parametrize("seed", range(12))
def test_the_weighted_mean_is_the_mean_over_domains(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(30, 90))
    y, guess, domain = (random.integers(0, k, n) for k in (4, 4, 3))
    by = [balanced_accuracy_score(y[domain == d], guess[domain == d]) for d in np.unique(domain)]
    right = (guess == y).astype(float)
    ours = [balanced_accuracy(right[domain == d], y[domain == d]) for d in np.unique(domain)]
    assert ours == pytest.approx(by)
    weights = metrics.weights(y, domain)
    assert weights.mean() == pytest.approx(1)
    assert (right * weights).mean() == pytest.approx(np.mean(by))


# ---------------------------------------------------------------------------------------------------- scoring


def images(n=60, seed=0):
    """Three classes in two domains of 3:1; domain 1 lacks class 2."""
    random = np.random.default_rng(seed)
    domain = (np.arange(n) % 4 == 0).astype(np.int64)
    y = np.where(domain == 0, random.integers(0, 3, n), random.integers(0, 2, n))
    y[:6], domain[:6] = [0, 1, 2, 0, 1, 1], [0, 0, 0, 1, 1, 0]
    return Truth(
        kind="images", domains=("big", "small"), classes=3, val_y=y[::-1], val_domain=domain[::-1],
        test_y=y, test_domain=domain, test_ids=np.array([f"p{i}" for i in range(n)]),
        test_groups=np.array([f"g{i // 2}" for i in range(n)]),
    )  # fmt: skip


def table(n=40, clusters=0):
    y = np.tile([0, 1], n // 2)
    domain = np.repeat([0, 1], n // 2)
    return Truth(
        kind="table", domains=("a", "b"), classes=2, val_y=y, val_domain=domain, test_y=y,
        test_domain=domain, test_ids=None,
        test_groups=np.array([f"day-{i % clusters}" for i in range(n)]) if clusters else None,
    )  # fmt: skip


def answer(truth, guess=None, **more):
    """Sure probabilities of the guessed test classes; the validation labels themselves."""
    sure = np.eye(truth.classes)
    return {"val": sure[truth.val_y], "test": sure[truth.test_y if guess is None else guess], **more}


def test_a_perfect_and_a_constant_answer():
    truth = images()
    perfect = TRACK.score(IMAGES, answer(truth, parameters=12), truth, ())
    assert perfect.metrics == {
        "average": 1, "worst": 1, "val_average": 1, "val_worst": 1, "parameters": 12,
    }  # fmt: skip
    constant = TRACK.score(IMAGES, answer(truth, np.zeros(60, int)), truth, ())
    # One class of three in the big domain, one of the two that occur in the small one.
    assert constant.metrics["average"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert constant.metrics["worst"] == pytest.approx(1 / 3)
    assert constant.metrics["parameters"] is None
    assert constant.metrics["val_average"] == 1
    by = constant.series["average"]
    assert by.dims == ("domain",)
    assert by.sel(domain="small").item() == pytest.approx(1 / 2)
    assert set(constant.metrics) >= {m.name for m in TRACK.metrics}


def test_the_units_mean_the_metric_and_know_their_families():
    truth = images(seed=3)
    guess = np.random.default_rng(1).integers(0, 3, 60)
    score = TRACK.score(IMAGES, answer(truth, guess), truth, ())
    units = score.units["average"]
    assert units.values.mean() == pytest.approx(score.metrics["average"])
    of = dict(zip(units.ids.tolist(), units.values.tolist(), strict=True))
    wrong = truth.test_ids[guess != truth.test_y].tolist()
    assert [of[i] for i in wrong] == [0] * len(wrong)
    assert dict(zip(units.ids, units.groups, strict=True)) == dict(
        zip(truth.test_ids, truth.test_groups, strict=True)
    )


@pytest.mark.parametrize("kind", ["images", "table"])
def test_neither_metrics_nor_units_depend_on_the_order_of_the_examples(kind):
    truth = images() if kind == "images" else table(clusters=7)
    random = np.random.default_rng(4)
    p = random.dirichlet(np.ones(3), 60) if kind == "images" else random.random(40)
    order = random.permutation(len(p))
    moved = {
        f.name: None if (v := getattr(truth, f.name)) is None else v[order]
        for f in dataclasses.fields(truth)
        if f.name.startswith("test_")
    }
    val = answer(truth)["val"] if kind == "images" else truth.val_y * 0.5
    here = TRACK.score(IMAGES, {"val": val, "test": p}, truth, ())
    there = TRACK.score(IMAGES, {"val": val, "test": p[order]}, dataclasses.replace(truth, **moved), ())
    assert there.metrics == pytest.approx(here.metrics, nan_ok=True)
    a, b = here.units["average"], there.units["average"]
    assert a.ids.tolist() == b.ids.tolist()
    assert a.values == pytest.approx(b.values)


def test_a_table_is_scored_by_auc_of_each_domain():
    truth = table()
    p = np.concatenate([truth.test_y[:20] * 0.8, np.full(20, 0.1)])
    score = TRACK.score(TABLE, {"val": p, "test": p}, truth, ())
    assert score.series["average"].values.tolist() == [1.0, 0.5]
    assert score.metrics["average"] == 0.75
    assert score.metrics["worst"] == 0.5
    # Over all rows at once it would be another number: the domains' levels differ.
    assert roc_auc_score(truth.test_y, p) != 0.75
    assert score.units == {}


def test_the_units_of_a_table_are_clusters_whose_mean_is_the_mean_of_the_areas():
    """Against the definition: the influence of each row on its domain's area, added up by cluster."""
    truth = table(60, clusters=9)
    p = np.round(np.random.default_rng(2).random(60), 1)  # with ties
    units = TRACK.score(TABLE, {"val": truth.val_y * 0.5, "test": p}, truth, ()).units["average"]
    share = np.zeros(60)
    areas = []
    for d in range(2):
        one, zero = (np.flatnonzero((truth.test_domain == d) & (truth.test_y == y)) for y in (1, 0))
        wins = (p[one][:, None] > p[zero]) + 0.5 * (p[one][:, None] == p[zero])
        areas.append(wins.mean())
        share[one] = (wins.mean(1) - areas[-1]) / len(one) / 2
        share[zero] = (wins.mean(0) - areas[-1]) / len(zero) / 2
    names = sorted(set(truth.test_groups.tolist()))
    assert units.ids.tolist() == names
    assert units.groups is None
    added = [share[truth.test_groups == g].sum() for g in names]
    assert units.values == pytest.approx(np.mean(areas) + 9 * np.array(added))
    assert units.values.mean() == pytest.approx(np.mean(areas))


@pytest.mark.parametrize(
    "truth", [images(), table(), table(clusters=5)], ids=["images", "table", "table with clusters"]
)
def test_what_is_not_finite_diverges(truth):
    p = answer(truth) if truth.kind == "images" else {"val": truth.val_y * 0.5, "test": truth.test_y * 0.5}
    p["test"] = p["test"].astype(float)
    p["test"][5] = np.nan
    score = TRACK.score(IMAGES, p, truth, ())
    assert np.isnan(score.metrics["average"])
    assert np.isnan(score.metrics["worst"])
    assert np.isfinite(score.metrics["val_average"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda a: [1], "the answer is a list, expected a mapping"),
        (lambda a: {"val": a["val"]}, "lacks 'test', expected probabilities for the examples of data.test"),
        (lambda a: {**a, "tset": 1}, "answer\\['tset'\\] is no entry of an answer; did you mean 'test'"),
        (lambda a: {**a, "test": a["test"][:-1]}, r"'test'\] has shape \(59, 3\), expected \(60, 3\)"),
        (lambda a: {**a, "val": a["val"][:, 0]}, r"'val'\] has shape \(60,\), expected \(60, 3\)"),
        (lambda a: {**a, "test": a["test"] * 4 - 2}, "from -2 to 2, expected .* apply a softmax"),
        (lambda a: {**a, "test": a["test"] * 0.5}, "of row 0 adds up to 0.5, expected 1"),
        (lambda a: {**a, "test": "seven"}, "is no array of numbers"),
        (lambda a: {**a, "parameters": "many"}, "'many', expected a number or nothing"),
    ],
)
def test_a_wrong_answer_says_what_was_expected(wrong, words):
    truth = images()
    with pytest.raises(AnswerError, match=words):
        TRACK.score(IMAGES, wrong(answer(truth)), truth, ())


def test_a_tables_logits_are_refused():
    truth = table()
    with pytest.raises(AnswerError, match=r"expected probabilities .* apply a sigmoid"):
        TRACK.score(TABLE, {"val": truth.val_y, "test": truth.test_y * 3.0}, truth, ())
    with pytest.raises(AnswerError, match=r"has shape \(40, 2\), expected \(40,\) \(rows: the prob"):
        TRACK.score(TABLE, {"val": truth.val_y, "test": np.full((40, 2), 0.5)}, truth, ())


def test_half_precision_passes():
    truth = images()
    p = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float16)
    assert TRACK.score(IMAGES, {"val": p, "test": p}, truth, ()).metrics["average"] > 0


def test_what_is_kept_has_no_field_that_a_method_is_given():
    from bench.tracks.multi_domain.data import MultiDomainData, Unlabelled

    assert {f.name for f in dataclasses.fields(Unlabelled)} == {"inputs", "domain"}
    assert not {"test_y", "y"} & {f.name for f in dataclasses.fields(MultiDomainData)}


def test_all_tasks_on_digits_are_one_observation():
    every = ("emoji", "digits", "digits-unequal", "digits-conflict", "insteval", "flights")
    of = {t.name: data_set(t, TRACK.axis) for t in TRACK.tasks(settings.Grid(datasets=every))}
    assert of["digits"] == of["digits-unequal"] == of["digits-conflict"]
    assert len(set(of.values())) == 4
