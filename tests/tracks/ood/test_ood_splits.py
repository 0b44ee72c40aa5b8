"""Emoji are cut by family, the same way every time, and every class can be trained, validated and tested."""

from collections import Counter, defaultdict

import pytest

from bench.contract import digest
from bench.data.drawings import emoji, sheets
from bench.data.drawings.emoji_families import families
from bench.tracks.ood.sources import emoji_split


@pytest.fixture(scope="module")
def common():
    """The emoji that exist in every style."""
    return sheets.ids(emoji.EMBEDDED, "noto")


def test_no_family_is_in_two_parts():
    part, family = emoji_split.splits(), families(emoji.labels())
    assert part.keys() == {e.id for e in emoji.labels()}
    where = defaultdict(set)
    for at, name in family.items():
        where[name].add(part[at])
    assert {len(w) for w in where.values()} == {1}
    assert part["1f436"] == part["1f415"]  # a dog's face and a dog
    assert part["1f468-200d-1f33e"] == part["1f469-200d-1f33e"]  # farmers


def test_parts_have_their_shares_of_every_large_class():
    part, large = emoji_split.splits(), emoji_split.classes([e.id for e in emoji.labels()])
    family = families(emoji.labels())
    for subcategory, n in Counter(e.subcategory for e in emoji.labels()).items():
        if subcategory in large:
            of = [e.id for e in emoji.labels() if e.subcategory == subcategory]
            got = Counter(part[i] for i in of)
            biggest = max(Counter(family[i] for i in of).values())  # which is not cut
            for name, share in emoji_split.SHARES.items():
                assert abs(got[name] - share * n) <= max(2.5, 0.06 * n, 0.5 * biggest), (subcategory, name)


def test_the_cut_is_the_same_every_time():
    first = dict(emoji_split.splits())
    emoji_split.splits.cache_clear()
    assert emoji_split.splits() == first
    # Another cut makes the embedded weights void: they would have seen evaluation families. Train anew.
    assert digest(first) == "ac5f03433056b9a6"


def test_every_class_has_all_evaluation_parts_in_every_style(common):
    part, family = emoji_split.splits(), families(emoji.labels())
    names = emoji_split.classes(common)
    assert 20 <= len(names) <= 35
    assert "country-flag" not in names
    for name in names:
        of = [e.id for e in emoji.labels() if e.subcategory == name and e.id in set(common)]
        got = Counter(part[i] for i in of)
        assert sum(got[p] for p in ("train", "val", "test")) >= emoji_split.LEAST
        assert got["test"] >= emoji_split.LEAST_TEST
        assert min(got["train"], got["val"]) >= 1
        assert len({family[i] for i in of if part[i] != "pretrain"}) >= emoji_split.LEAST_FAMILIES


def test_class_words_are_distinct_and_of_known_subcategories():
    known = list(dict.fromkeys(e.subcategory for e in emoji.labels()))
    assert set(emoji_split.WORDS) <= set(known)
    words = [emoji_split.words(s) for s in known]
    assert len(set(words)) == len(words)
    assert emoji_split.words("musical-instrument") == "musical instrument"
