"""Amazon's ratings: the proxy's rules against a reading of one user at a time, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import rating_reference as reference
from typer.testing import CliRunner

from bench.cli import app
from bench.contract import BenchError
from bench.data import ratings


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def bench(*args, code=0):
    done = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["data", *args])
    if isinstance(done.exception, BenchError):
        raise done.exception
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


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


def test_each_positive_is_followed_by_an_item_that_its_user_has_not_rated_in_the_domain(data):
    reference.write_ratings()
    ratings.prepare()
    log = ratings.read()
    assert np.array_equal(log.y, np.tile([1, 0], len(log.y) // 2))
    positive, negative = log.x[::2], log.x[1::2]
    assert np.array_equal(positive[:, 0], negative[:, 0])
    assert np.array_equal(log.domain[::2], log.domain[1::2])
    key = log.domain[::2].astype(int)
    rated = set(zip(key.tolist(), *positive.T.tolist(), strict=True))
    assert not rated & set(zip(key.tolist(), *negative.T.tolist(), strict=True))
    # Drawn evenly from the items of all domains.
    own = {d: set(positive[key == d, 1].tolist()) for d in range(5)}
    strangers = np.mean([i not in own[d] for d, i in zip(key.tolist(), negative[:, 1].tolist(), strict=True)])
    assert 0.7 < strangers < 0.9


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
