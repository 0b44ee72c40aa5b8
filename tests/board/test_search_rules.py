"""The rules that choose among the draws of a search, and the curve of best of n, with known answers."""

import numpy as np
import pytest

from bench.board import search
from bench.board.spec import Slot
from bench.contract import Metric
from bench.store.draws import Draw

HIGH = Metric(name="value", better="higher")
LOW = Metric(name="value", better="lower")


def slot(val=None, test=None, status="ok", row="a", seed=0, i=0, **how):
    metrics = {} if test is None else {"value": test, **({} if val is None else {"val_value": val})}
    return Slot(row=row, task="t", seed=seed, key=f"{row}{seed}{i}", status=status, metrics=metrics, **how)


def slots(*pairs, **how):
    return [slot(val, test, i=i, **how) for i, (val, test) in enumerate(pairs)]


def found(*of, sampler="random", rows=("a",), with_space=("a",)):
    ended = {row: {("t", seed): s for seed, s in enumerate(of)} for row in rows}
    return search.searched(sampler, ended, [], with_space)


KNOWN = slots((0.1, 1.0), (0.5, 2.0), (0.3, 3.0))


@pytest.mark.parametrize(
    ("rule", "metric", "wanted"),
    [
        ("default", HIGH, 0), ("validation", HIGH, 1), ("oracle", HIGH, 2),
        ("default", LOW, 0), ("validation", LOW, 0), ("oracle", LOW, 0),
    ],
)  # fmt: skip
def test_each_rule_chooses_by_its_own_score(rule, metric, wanted):
    assert search.choose(KNOWN, rule, metric) == wanted


def test_a_draw_without_a_number_is_never_chosen_and_of_equals_the_first_is():
    failed = [slot(0.1, 1.0), slot(status="failed"), slot(float("nan"), 9.0), slot(0.1, 5.0)]
    assert search.choose(failed, "validation", HIGH) == 0
    assert search.choose([slot(status="oom"), *KNOWN], "validation", HIGH) == 2
    assert search.choose([slot(status="oom"), slot(status="failed")], "validation", HIGH) == 0


def test_every_row_is_chosen_among_the_same_number_of_draws():
    long, short = KNOWN * 2, [*KNOWN, slot(status="new")]
    ended = {"a": {("t", 0): long, ("t", 1): long, ("u", 0): long}, "b": {("t", 0): short, ("t", 1): long}}
    both = search.searched("random", ended, [], ["a", "b", "c"])
    assert (both.draws, both.places, both.unsearched) == (3, (("t", 0), ("t", 1), ("u", 0)), ["c"])
    assert {len(s) for of in both.slots.values() for s in of.values()} == {3}


def test_a_row_with_fewer_seeds_or_tasks_takes_none_from_the_others():
    ended = {"a": {("t", 0): KNOWN, ("t", 1): KNOWN, ("u", 0): KNOWN}, "once": {("t", 0): KNOWN}}
    both = search.searched("random", ended, [], ["a", "once"])
    assert both.places == (("t", 0), ("t", 1), ("u", 0))
    assert list(both.slots["once"]) == [("t", 0)]


def test_a_default_alone_is_no_search():
    assert found([slot(0.1, 1.0), slot(status="new")]) is None
    assert search.searched("random", {}, [], ["a"]) is None


def test_the_curve_begins_at_the_default_and_ends_at_the_choice_among_all():
    curve = search.curve(found(KNOWN), "a", HIGH)
    assert curve.mean[0] == curve.low[0] == curve.high[0] == 1.0
    assert curve.mean[1] == pytest.approx(2.5, abs=0.1), "the second draw is either of the other two"
    assert (curve.low[1], curve.high[1]) == (2.0, 3.0)
    assert curve.mean[2] == curve.low[2] == curve.high[2] == 2.0


def test_the_curve_of_an_adaptive_search_is_that_of_its_own_order():
    curve = search.curve(found(KNOWN, sampler="tpe"), "a", HIGH)
    assert curve.mean.tolist() == curve.low.tolist() == [1.0, 2.0, 2.0]


def test_seeds_choose_for_themselves_and_the_curve_is_their_mean():
    other = slots((0.9, 7.0), (0.5, 2.0), (0.3, 3.0), seed=1)
    curve = search.curve(found(KNOWN, other), "a", HIGH)
    assert (curve.mean[0], curve.mean[2]) == (4.0, 4.5)


def test_where_an_order_has_no_value_yet_the_curve_has_none():
    curve = search.curve(found([slot(status="failed"), *KNOWN]), "a", HIGH)
    assert np.isnan(curve.mean[0])
    assert curve.mean[3] == 2.0


def test_a_cell_that_several_draws_share_is_paid_once():
    cost = {"load_s": 1.0, "run_s": 10.0, "score_s": 1.0}
    same = [slot(0.1, 1.0, hardware="X", cost=cost) for _ in range(3)]
    assert search.seconds(found(same), "a") == {"X": 12.0}


def test_a_draw_says_what_it_changes():
    how = {"track": "t", "row": "a", "task": "", "sampler": "random", "space": {}}
    draw = Draw(**how, index=1, hp={"lr": 0.0123456}, run={"depth": 3})
    assert str(draw) == "lr 0.01235, depth 3"
    assert str(Draw(**how, index=0, hp={}, run={})) == ""
