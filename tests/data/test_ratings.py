"""Amazon's ratings: the proxy's rules against a reading of one user at a time, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import rating_reference as reference
from data_command import bench

from bench.contract import BenchError
from bench.data.tables import ratings


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_positives_are_those_of_the_rules_in_their_part(data):
    reference.write_ratings()
    ratings.prepare()
    log = ratings.read()
    found, users, items = reference.positives()
    assert (log.manifest.users, log.manifest.items) == (len(users), len(items))
    part = np.repeat(np.arange(3), log.manifest.parts)
    mine = log.y == 1
    rows = zip(log.domain[mine], part[mine], log.x[mine], strict=True)
    assert sorted((int(d), int(p), users[u], items[i]) for d, p, (u, i) in rows) == sorted(found)


def test_each_positive_comes_with_an_item_that_its_user_has_not_rated_in_the_domain(data):
    reference.write_ratings()
    ratings.prepare()
    log = ratings.read()
    part = np.repeat(np.arange(3), log.manifest.parts)
    positive, negative = (
        list(zip(part[rows].tolist(), log.domain[rows].tolist(), *log.x[rows].T.tolist(), strict=True))
        for rows in (np.flatnonzero(log.y == y) for y in (1, 0))
    )
    assert Counter(row[:3] for row in positive) == Counter(row[:3] for row in negative)
    assert not {row[1:] for row in positive} & {row[1:] for row in negative}
    # Drawn evenly from the items of all domains.
    own = {(d, i) for _, d, _, i in positive}
    assert 0.7 < np.mean([(d, i) not in own for _, d, _, i in negative]) < 0.9


def test_the_place_of_a_row_does_not_tell_its_label_or_domain(data):
    reference.write_ratings()
    ratings.prepare()
    log = ratings.read()
    for rows in np.split(np.arange(len(log.y)), np.cumsum(log.manifest.parts)[:-1]):
        for values in (log.y[rows], log.domain[rows]):
            # Neighbours agree as often as by chance; in sorted or alternating rows far more or less often.
            by_chance = np.sum((np.bincount(values) / len(values)) ** 2)
            assert np.mean(values[1:] == values[:-1]) == pytest.approx(by_chance, abs=5 / len(values) ** 0.5)


def test_preparing_is_reproducible_and_checked(data):
    reference.write_ratings()
    first = bench("prepare", "amazon")
    assert "amazon: " in first
    assert "Musical_Instruments" in first
    before = ratings.fingerprint()
    assert bench("prepare", "amazon", "--again") == first
    assert ratings.fingerprint() == before
    assert bench("check", "amazon") == first
    x = data / "prepared" / "amazon" / "x.npy"
    x.write_bytes(x.read_bytes()[:-1] + b"\7")
    assert "x.npy: is not what was prepared" in bench("check", "amazon", code=1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A1,B1,5.0\n", r"ratings_Electronics\.csv: expected lines of user,item,rating,time: .*"),
        ("A1,B1,5.0,yesterday\n", r"ratings_Electronics\.csv: .*yesterday"),
        ("A1,B1,5.0,\n", r"ratings_Electronics\.csv: "),
    ],
)
def test_a_line_against_the_layout_is_named(data, line, words):
    folder = reference.write_ratings()
    with (folder / "ratings_Electronics.csv").open("a") as file:
        file.write(line)
    with pytest.raises(BenchError, match=words):
        ratings.prepare()
    assert not (data / "prepared" / "amazon").exists()


def test_an_empty_and_a_missing_file(data):
    folder = reference.write_ratings()
    (folder / "ratings_Books.csv").write_text("")
    with pytest.raises(BenchError, match=r"ratings_Books\.csv: expected lines of"):
        ratings.prepare()
    (folder / "ratings_Video_Games.csv").unlink()
    assert "no file ratings_Video_Games.csv" in ratings.missing()
    with pytest.raises(BenchError, match=r"no file ratings_Video_Games\.csv in .*get it from"):
        ratings.prepare()
