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
    seen, place, family = emoji_split.pretraining(), emoji_split.folds(), families(emoji.labels())
    assert not seen & place.keys()
    assert seen | place.keys() == {e.id for e in emoji.labels()}
    where = defaultdict(set)
    for at, name in family.items():
        where[name].add(place.get(at, "pretrain"))
    assert {len(w) for w in where.values()} == {1}
    for a, b in (("1f436", "1f415"), ("1f468-200d-1f33e", "1f469-200d-1f33e")):  # dogs, farmers
        assert place.get(a) == place.get(b)


def test_every_fold_is_the_test_once_and_the_validation_once():
    by_fold = [emoji_split.splits(k) for k in range(emoji_split.FOLDS)]
    assert all(part.keys() == {e.id for e in emoji.labels()} for part in by_fold)
    for at in by_fold[0]:
        counted = Counter(part[at] for part in by_fold)
        if at in emoji_split.pretraining():
            assert counted == {"pretrain": emoji_split.FOLDS}
        else:
            assert counted == {"test": 1, "val": 1, "train": emoji_split.FOLDS - 2}


def test_folds_have_equal_parts_of_every_class(common):
    place, family = emoji_split.folds(), families(emoji.labels())
    names = emoji_split.classes(common)
    of = {s: [e.id for e in emoji.labels() if e.subcategory == s and e.id in place] for s in names}
    for subcategory, ids in of.items():
        got = Counter(place[i] for i in ids)
        biggest = max(Counter(family[i] for i in ids).values())  # which is not cut
        assert max(got.values()) - min(got[k] for k in range(emoji_split.FOLDS)) <= max(3, biggest), (
            subcategory
        )
    every = Counter(place[i] for ids in of.values() for i in ids if i in set(common))
    assert max(every.values()) < 1.15 * min(every.values())


def test_the_cut_is_the_same_every_time():
    seen, place = emoji_split.pretraining(), dict(emoji_split.folds())
    emoji_split.pretraining.cache_clear()
    emoji_split.folds.cache_clear()
    assert emoji_split.pretraining() == seen
    assert emoji_split.folds() == place
    # Another cut makes the embedded weights void: they would have seen evaluation families. Train anew.
    assert digest(sorted(seen)) == "7b3cde4477ab0e38"
    assert digest(place) == "208f2b64f00ebf07"


def test_every_class_is_tested_in_every_fold_in_every_style(common):
    place, family = emoji_split.folds(), families(emoji.labels())
    names = emoji_split.classes(common)
    assert 20 <= len(names) <= 35
    assert "country-flag" not in names
    for name in names:
        of = [e.id for e in emoji.labels() if e.subcategory == name and e.id in set(common) & place.keys()]
        got = Counter(place[i] for i in of)
        assert len(of) >= emoji_split.LEAST
        assert min(got[k] for k in range(emoji_split.FOLDS)) >= emoji_split.LEAST_IN_FOLD
        assert len({family[i] for i in of}) >= emoji_split.LEAST_FAMILIES


def test_class_words_are_distinct_and_of_known_subcategories():
    known = list(dict.fromkeys(e.subcategory for e in emoji.labels()))
    assert set(emoji_split.WORDS) <= set(known)
    words = [emoji_split.words(s) for s in known]
    assert len(set(words)) == len(words)
    assert emoji_split.words("musical-instrument") == "musical instrument"
