"""Which emoji may be seen when: pre-training, source training, validation, test. The unit is the family.

Families are assigned to the splits within each subcategory by a fixed seed. Only Twemoji's pictures of
``pretrain`` families enter pre-training; the other families are of the evaluation, and target pictures come
from ``test`` families only. Nothing here depends on a style: an emoji lies in the same split however it is
drawn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal

from bench.contract import digest
from bench.data.drawings import emoji
from bench.data.drawings.emoji_families import families

Split = Literal["pretrain", "train", "val", "test"]

#: Share of a subcategory's emoji that each split should get.
SHARES: Mapping[Split, float] = {"pretrain": 0.34, "train": 0.28, "val": 0.09, "test": 0.29}
SEED = 0
#: A class has at least so many evaluation emoji, of at least so many families, and this many in test.
LEAST, LEAST_FAMILIES, LEAST_TEST = 11, 6, 4

#: What a class is called where the words of its subcategory say it badly.
WORDS: Mapping[str, str] = {
    "face-smiling": "smiling face",
    "face-affection": "face full of love",
    "face-tongue": "face with tongue out",
    "face-hand": "face with a hand",
    "face-neutral-skeptical": "neutral or sceptical face",
    "face-sleepy": "sleepy face",
    "face-unwell": "sick face",
    "face-concerned": "worried face",
    "face-negative": "angry face",
    "face-costume": "costumed face",
    "cat-face": "cat face",
    "person-gesture": "person making a gesture",
    "person-role": "person at work",
    "person-fantasy": "fantasy figure",
    "person-activity": "active person",
    "person-sport": "person doing sport",
    "person-resting": "resting person",
    "animal-mammal": "mammal",
    "animal-bird": "bird",
    "animal-reptile": "reptile",
    "animal-marine": "sea animal",
    "animal-bug": "insect",
    "plant-flower": "flower",
    "plant-other": "plant",
    "food-fruit": "fruit",
    "food-vegetable": "vegetable",
    "food-prepared": "meal",
    "food-asian": "Asian food",
    "food-marine": "seafood",
    "food-sweet": "sweet food",
    "place-map": "map",
    "place-geographic": "landscape",
    "place-building": "building",
    "place-religious": "religious building",
    "place-other": "place",
    "transport-ground": "land vehicle",
    "transport-water": "ship",
    "transport-air": "aircraft",
    "sky & weather": "weather",
    "event": "celebration",
    "sport": "sports equipment",
    "game": "game or toy",
    "light & video": "light or camera",
    "book-paper": "book or paper",
    "office": "office supplies",
    "household": "household item",
    "other-symbol": "sign",
    "geometric": "geometric shape",
}  # fmt: skip


def words(subcategory: str) -> str:
    """The words for a subcategory in captions and prompts."""
    return WORDS.get(subcategory, subcategory.replace("-", " "))


@lru_cache(maxsize=1)
def splits() -> Mapping[str, Split]:
    """The split of every emoji, by id.

    A family goes to the split that lacks most of its share, biggest families first, so that small classes are
    divided fairly too; families of one size come in an order drawn from `SEED`. A family that spans
    subcategories is assigned in the one that has most of its members.
    """
    family = family_of()
    members: dict[str, list[emoji.Emoji]] = defaultdict(list)
    for e in emoji.labels():
        members[family[e.id]].append(e)
    homes: dict[str, list[str]] = defaultdict(list)
    for name, of in members.items():
        homes[Counter(e.subcategory for e in of).most_common(1)[0][0]].append(name)
    return {
        e.id: split
        for subcategory, names in homes.items()
        for name, split in _assigned(subcategory, {n: len(members[n]) for n in names}).items()
        for e in members[name]
    }


@lru_cache(maxsize=1)
def family_of() -> Mapping[str, str]:
    """The family of every emoji, by id. A family is the drawings of one thing and of variants of it."""
    return families(emoji.labels())


def _assigned(subcategory: str, sizes: Mapping[str, int]) -> dict[str, Split]:
    """The split of each family of one subcategory, given how many members each has."""
    order = sorted(sizes, key=lambda n: (-sizes[n], digest([SEED, subcategory, n])))
    total, given = sum(sizes.values()), dict.fromkeys(SHARES, 0)
    assigned: dict[str, Split] = {}
    for name in order:
        split = max(SHARES, key=lambda s: SHARES[s] * total - given[s])
        assigned[name], given[split] = split, given[split] + sizes[name]
    return assigned


def classes(ids: Collection[str]) -> tuple[str, ...]:
    """The subcategories that are classes, in Unicode's order, given the emoji that exist in every style."""
    there = set(ids)
    split, family = splits(), family_of()
    found: dict[str, list[str]] = defaultdict(list)
    for e in emoji.labels():
        if e.id in there and split[e.id] != "pretrain":
            found[e.subcategory].append(e.id)
    return tuple(
        subcategory
        for subcategory, of in found.items()
        if len(of) >= LEAST
        and len({family[i] for i in of}) >= LEAST_FAMILIES
        and sum(split[i] == "test" for i in of) >= LEAST_TEST
        and {"train", "val"} <= {split[i] for i in of}
    )
