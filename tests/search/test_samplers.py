"""What a search draws: a function of the row and of the draw's number, whatever else is declared."""

import math
import sys

import pytest
from stubs.hills import TRACK

from bench.contract import BenchError, Method, Space, method
from bench.declarations import Dimension, search_space
from bench.search import samplers

LR = Dimension("hp", "lr", (), 1e-4, 1e-1, True, False)
DEPTH = Dimension("hp", "depth", (), 1, 8, False, True)
SHARES = Dimension("run", "shares", ([1, 1], [1, 2]), 0, 0, False, False)


def drawn(*dimensions, sampler="random", row="row", n=12):
    return samplers.Space("track", row, dimensions, sampler).draws(n)


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_more_draws_leave_the_first_ones_as_they_are(sampler):
    assert drawn(LR, DEPTH, SHARES, sampler=sampler, n=5) == drawn(LR, DEPTH, SHARES, sampler=sampler)[:5]


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_draws_lie_in_the_space_and_the_first_is_the_default(sampler):
    first, *others = drawn(LR, DEPTH, SHARES, sampler=sampler)
    assert (first.index, first.hp, first.run) == (0, {}, {})
    assert [d.index for d in others] == list(range(1, 12))
    assert all(1e-4 <= d.hp["lr"] <= 1e-1 for d in others)
    assert len({d.hp["lr"] for d in others}) == 11
    assert all(type(d.hp["depth"]) is int and 1 <= d.hp["depth"] <= 8 for d in others)
    assert all(d.run["shares"] in SHARES.choices for d in others)


def test_a_parameter_that_is_added_moves_no_other():
    alone, beside = drawn(LR), drawn(DEPTH, LR, SHARES)
    assert [d.hp.get("lr") for d in alone] == [d.hp.get("lr") for d in beside]


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_rows_draw_apart(sampler):
    one, other = (drawn(LR, sampler=sampler, row=row)[1:] for row in ("one", "other"))
    assert not {d.hp["lr"] for d in one} & {d.hp["lr"] for d in other}


def test_an_adaptive_search_begins_with_the_draws_of_the_random_one_and_numbers_on():
    space = samplers.Space("track", "row", [LR, SHARES], "tpe", task="task")
    begun = space.draws(6)
    assert [(d.hp, d.run) for d in begun] == [(d.hp, d.run) for d in drawn(LR, SHARES, n=6)]
    scores = [math.nan if d.index == 2 else float(d.index) for d in begun]
    more = space.learn([*zip(begun, scores, strict=True)], 3, "higher")
    assert [(d.index, d.task, d.sampler) for d in more] == [(i, "task", "tpe") for i in (6, 7, 8)]
    assert all(1e-4 <= d.hp["lr"] <= 1e-1 and d.run["shares"] in SHARES.choices for d in more)
    assert more == space.learn([*zip(begun, scores, strict=True)], 3, "higher")


def test_without_optuna_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BenchError, match=r"a search needs optuna.*pip install 'gridbench\[cluster\]'"):
        drawn(LR)


# ---------------------------------------------------------------------------------------- what rows declare


def declared(**how) -> Method:
    def f(data, hp, ctx):
        return None

    method("hills", name="F", **how)(f)
    (found,) = f.__bench_methods__
    return found


def test_a_value_that_the_variant_sets_is_not_searched():
    m = declared(
        hp={"lr": Space(default=0.1, low=0.01, high=1.0), "kind": Space(default="a", choices=("a", "b"))},
        variants={"b": {"kind": "b"}},
        run_spaces={"epochs": Space(low=1, high=5)},
    )
    assert [str(d) for d in search_space(TRACK, m, "f")] == ["hp.lr", "hp.kind", "run.epochs"]
    *_, epochs = space = search_space(TRACK, m, "f/b")
    assert [str(d) for d in space] == ["hp.lr", "run.epochs"]
    assert epochs.integer, "the track's default is a whole number"
    assert m.hp_of("f") == {"lr": 0.1, "kind": "a"}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"run_spaces": {"rates": Space(low=0.1, high=1.0)}}, "no run setting 'rates'.*rate"),
        ({"hp": {"lr": Space(default=0.1)}}, "the space of lr is .*expected choices, or low < high"),
    ],
)
def test_a_space_that_holds_nothing_is_a_mistake_of_its_file(how, said):
    with pytest.raises(BenchError, match=said):
        search_space(TRACK, declared(**how), "f")
