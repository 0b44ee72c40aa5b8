"""What is said of an answer that cannot be scored, of an unknown name, and of a run setting of 0."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from bench.contract import AnswerError, BenchError
from bench.tracks.common.answers import Answer
from bench.tracks.common.names import check_names
from bench.tracks.common.recipes import overridden

REQUIRED = {"val": "probabilities for data.val", "test": "probabilities for data.test"}


def answer(**entries):
    given = {"val": [0.1, 0.9], "test": [[0.5, 0.5]], **entries}
    return Answer("demo", given, required=REQUIRED, optional=("parameters", "relay"))


def test_a_good_answer_is_read_as_it_was_given():
    good = answer(parameters=3, relay=len)
    assert good.probabilities("val", (2,), "rows").dtype == np.float64
    assert good.array("test").tolist() == [[0.5, 0.5]]
    assert good.number("parameters") == 3.0
    assert answer().number("parameters") is None
    assert good.function("relay", "rows") is len
    assert np.isnan(answer(val=[np.nan, 0.5]).probabilities("val", (2,), "rows")[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, r"^demo: the answer is a int, expected a mapping with 'val' and 'test'$"),
        ({"val": 1}, r"^demo: the answer lacks 'test', expected probabilities for data\.test$"),
        ({"val": 1, "test": None}, "lacks 'test'"),
        ({"val": 1, "tset": 1}, r"answer\['tset'\] is no entry of an answer; did you mean 'test'\?"),
        ({"val": 1, 7: 1}, r"answer\[7\] is no entry of an answer; there is parameters, relay, test, val"),
    ],
)
def test_wrong_entries_are_named(given, words):
    with pytest.raises(AnswerError, match=words):
        Answer("demo", given, required=REQUIRED, optional=("parameters", "relay"))


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: answer(parameters="many").number("parameters"), "'many', expected a number or nothing"),
        (lambda: answer(relay=2).function("relay", "rows"), "is 2, expected a function of rows"),
        (lambda: answer(val="seven").array("val"), "is no array of numbers"),
        (
            lambda: answer(val=["0.5"]).array("val"),
            "is no array of numbers: expected real numbers, found <U3",
        ),
        (lambda: answer(val=np.array([0.5 + 0.1j])).array("val"), "expected real numbers, found complex128"),
        (lambda: answer(val=[0.5 + 0j, 1]).array("val"), "expected real numbers, found complex128"),
        (lambda: answer(val=torch.ones(2, dtype=torch.complex64)).array("val"), "found complex64"),
        (
            lambda: answer(val=np.array(["2020"], "datetime64[D]")).array("val"),
            "expected real numbers, found dat",
        ),
        (
            lambda: answer(val=np.ma.masked_less([0.1, 0.9], 0.5)).array("val"),
            "has 1 masked values of 2, expected",
        ),
        (lambda: answer(val=[[1], [1, 2]]).array("val"), "is no array of numbers"),
        (lambda: answer().array("val", (3,), "rows"), r"has shape \(2,\), expected \(3,\) \(rows\)"),
        (lambda: answer(val=[-3, 2]).probabilities("val", (2,), ""), "from -3 to 2, .* apply a sigmoid"),
        (lambda: answer(test=[[3, 2]]).probabilities("test", (1, 2), ""), "from 2 to 3, .* apply a softmax"),
    ],
)
def test_wrong_values_say_what_was_expected(read, words):
    with pytest.raises(AnswerError, match=words):
        read()


def test_an_unknown_name_in_a_setting_names_the_nearest():
    check_names("demo: grid.targets", ("a", "b"), {"a", "b", "c"})
    with pytest.raises(
        BenchError, match=r"^demo: grid\.targets: nothing is named 'emojy'; did you mean 'emoji'\?$"
    ):
        check_names("demo: grid.targets", ("emojy",), ("emoji", "stamps"))


@dataclasses.dataclass(frozen=True)
class Recipe:
    steps: int = 100
    lr: float = 0.1
    margin: float = 0.3


@dataclasses.dataclass(frozen=True)
class Run:
    steps: int = 0
    lr: float = 0.0
    margin: float = 0.5


def test_a_run_setting_of_0_leaves_the_recipe_as_it_is():
    assert overridden(Recipe(), Run(), "steps", "lr") == Recipe()
    assert overridden(Recipe(), Run(steps=7), "steps", "lr") == Recipe(steps=7)
    assert overridden(Recipe(), Run(), "margin") == Recipe(margin=0.5)
