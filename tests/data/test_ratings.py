"""Amazon's ratings: the proxy's rules against a reading of one user at a time, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import rating_reference as reference
from data_command import bench
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import BenchError
from bench.data.tables import rating_files, ratings


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return tmp_path


def test_positives_are_those_of_the_rules_in_their_part(data):
    reference.write_ratings()
    ratings.prepare(partial=True)
    log = ratings.read()
    found, users, items = reference.positives()
    assert (log.manifest.users, log.manifest.items) == (len(users), len(items))
    part = np.repeat(np.arange(3), log.manifest.parts)
    mine = log.y == 1
    rows = zip(log.domain[mine], part[mine], log.x[mine], strict=True)
    assert sorted((int(d), int(p), users[u], items[i]) for d, p, (u, i) in rows) == sorted(found)


def test_each_positive_comes_with_an_item_that_its_user_has_not_rated_in_the_domain(data):
    reference.write_ratings()
    ratings.prepare(partial=True)
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
    ratings.prepare(partial=True)
    log = ratings.read()
    for rows in np.split(np.arange(len(log.y)), np.cumsum(log.manifest.parts)[:-1]):
        for values in (log.y[rows], log.domain[rows]):
            # Neighbours agree as often as by chance; in sorted or alternating rows far more or less often.
            by_chance = np.sum((np.bincount(values) / len(values)) ** 2)
            assert np.mean(values[1:] == values[:-1]) == pytest.approx(by_chance, abs=5 / len(values) ** 0.5)


def test_preparing_is_reproducible_and_checked(data):
    reference.write_ratings()
    first = bench("prepare", "amazon", "--partial")
    assert "amazon: " in first
    assert "Musical_Instruments" in first
    before = ratings.fingerprint()
    assert bench("prepare", "amazon", "--again", "--partial") == first
    assert ratings.fingerprint() == before
    assert bench("check", "amazon") == first
    x = data / "prepared" / "amazon" / "x.npy"
    x.write_bytes(x.read_bytes()[:-1] + b"\7")
    assert "x.npy: is not what was prepared" in bench("check", "amazon", code=1)


GOOD = "A1,B000000001,5.0,1001000001"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("A1,B1,5.0\n", ":{n}: 3 columns, expected 4 separated by ','"),
        (GOOD + ",1\n", ":{n}: 5 columns, expected 4"),
        ("\n", ":{n}: "),
        ("A1,B1,5.0,yesterday\n", ":{n}: column time: 'yesterday', expected an integer"),
        ("A1,B1,5.0,\n", ":{n}: column time: '', expected an integer"),
        ("A1,B1,many,1001000001\n", ":{n}: column rating: 'many', expected a number"),
        ("A1,B1,0.0,1001000001\n", ":{n}: column rating: 0.0, expected 1 to 5 stars"),
        ("A1,B1,nan,1001000001\n", ":{n}: column rating: nan, expected 1 to 5 stars"),
        ("A1,B1,5.0,-1\n", ":{n}: column time: -1, expected seconds since 1970"),
        ("A1,B1,5.0,1001000001000\n", ":{n}: column time: 1001000001000, expected seconds since 1970"),
        (",B000000001,5.0,1001000001\n", ":{n}: column user is empty"),
        ("A1, ,5.0,1001000001\n", ":{n}: column item is empty"),
        (GOOD, ": truncated, its last line has no end"),
    ],
)
def test_a_line_against_the_layout_is_named(data, line, words):
    path = reference.write_ratings() / "ratings_Electronics.csv"
    n = path.read_text().count("\n") + 1
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(BenchError) as e:
        ratings.prepare(partial=True)
    assert f"{path}{words.format(n=n)}" in str(e.value)
    assert not (data / "prepared" / "amazon").exists()


def rewrite(category, change):
    """One file of the small data set with its lines changed; its path."""
    path = reference.write_ratings() / f"ratings_{category}.csv"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    return path


def test_a_cut_or_doubled_file_is_told_by_the_published_counts_and_adds_nobody(data):
    reference.write_ratings()
    whole = ratings.prepare(partial=True)
    assert ratings.fingerprint().endswith("-part")
    with pytest.raises(
        BenchError, match=r"amazon: ratings, edition of 2014: Books \d+ \(published 22,507,155\)"
    ):
        ratings.prepare()
    rewrite("Books", lambda lines: lines * 2)
    doubled = ratings.prepare(partial=True, again=True)
    assert doubled.repeated[0] * 2 == doubled.ratings[0] == 2 * whole.ratings[0]
    assert (doubled.sha256, doubled.users) == (whole.sha256, whole.users), "the same arrays"


def test_whole_files_are_known_as_such(data, monkeypatch):
    reference.write_ratings()
    counts = {d: len(reference.ratings_lines(d)) for d in ratings.DOMAINS}
    monkeypatch.setitem(rating_files.COUNTS, "2014", counts)
    assert ratings.prepare().complete
    assert not ratings.fingerprint().endswith("-part")


def test_one_rating_several_times_makes_no_active_user(data):
    late = "".join(f"A999,B000000001,{s}.0,{1_001_500_000 + s}\n" for s in range(1, 6))
    rewrite("Books", lambda lines: [*lines, late])
    manifest = ratings.prepare(partial=True)
    assert manifest.repeated == (4, 0, 0, 0, 0)
    assert len(reference.positives()[1]) == manifest.users, "A999 rated one item"
    assert ", 4 of them of an item again" in manifest.summary()


def test_both_editions_are_read_whatever_the_files_are_called(data):
    folder = reference.write_ratings()
    of_2014 = ratings.prepare(partial=True)
    for domain in ratings.DOMAINS:
        lines = (folder / f"ratings_{domain}.csv").read_text().splitlines()
        swapped = ["{1},{0},{2},{3}\n".format(*line.split(",")) for line in lines]
        (folder / f"ratings_{domain}.csv").unlink()
        (folder / f"{domain}.csv").write_text("".join(swapped))
    of_2018 = ratings.prepare(partial=True, again=True)
    assert (of_2014.edition, of_2018.edition) == ("2014", "2018")
    assert of_2014.sha256 == of_2018.sha256
    (folder / "ratings_Books.csv").write_text(
        "".join(f"{a},{b},{c},{d}\n" for a, b, c, d in reference.ratings_lines("Books"))
    )
    with pytest.raises(
        BenchError, match=r"Electronics\.csv: is of the edition of 2018, but ratings_Books\.csv"
    ):
        ratings.prepare(partial=True, again=True)


def test_columns_of_no_edition_and_a_domain_without_rows_are_refused(data):
    path = rewrite("Books", lambda lines: [line.replace("BBO", "item-") for line in lines])
    with pytest.raises(
        BenchError, match=r"cannot tell user from item: Amazon's item numbers are 0% of the names"
    ):
        ratings.prepare(partial=True)
    path.write_text(f"{GOOD}\n")
    with pytest.raises(
        BenchError, match=r"ratings_Books\.csv: no rating for training by a user with at least 5"
    ):
        ratings.prepare(partial=True)


def test_an_empty_and_a_missing_file(data):
    folder = reference.write_ratings()
    (folder / "ratings_Books.csv").write_text("")
    with pytest.raises(BenchError, match=r"ratings_Books\.csv: is empty"):
        ratings.prepare()
    (folder / "ratings_Video_Games.csv").unlink()
    assert "no file ratings_Video_Games.csv" in ratings.missing()
    with pytest.raises(BenchError, match=r"no file ratings_Video_Games\.csv in .*get it from"):
        ratings.prepare()


#: Edits of a file of ratings: where, how many bytes go, and what stands there instead.
EDITS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=3
)


@given(EDITS)
def test_a_mutated_file_has_as_many_ratings_as_lines_or_is_refused(tmp_path, edits):
    path = tmp_path / "ratings_Books.csv"
    text = "".join(f"A{u},B{i:09},5.0,1001000001\n" for u in range(3) for i in range(3)).encode()
    for at, gone, new in edits:
        text = text[:at] + new + text[at + gone :]
    path.write_bytes(text)
    try:
        found = rating_files.read(path)
    except BenchError as e:
        said = str(e)
        assert said.startswith(str(path))
        return
    assert found.lines == len(text.splitlines()) == len(found.user) + found.repeated
