"""Which emoji may be seen when: pre-training, source training, validation, test. The unit is the family.

About a third of the families are of the pre-training, once and for all: only Twemoji's pictures of these
enter it. The other families are of the evaluation and lie in `FOLDS` folds: of each seed another fold is the
test, the next one is the validation, and the rest is trained on. So every evaluation emoji is tested at one
seed in five, and the spread over seeds holds that of the emoji. Nothing here depends on a style: an emoji
lies in the same split however it is drawn.
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

#: Share of a subcategory's emoji that each part of the cut should get whose first part is the pre-training's.
#: The other three are together the evaluation, which has folds since; they stay because the embedded weights
#: were trained on this cut: another one would have shown them what is evaluated.
SHARES: Mapping[Split, float] = {"pretrain": 0.34, "train": 0.28, "val": 0.09, "test": 0.29}
SEED = 0
#: How many folds the evaluation families lie in; seed k is tested on fold k modulo this number.
FOLDS = 5
#: A class has at least so many evaluation emoji, of at least so many families, and this many in every fold.
LEAST, LEAST_FAMILIES, LEAST_IN_FOLD = 11, 6, 2

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


@lru_cache(maxsize=FOLDS)
def splits(fold: int) -> Mapping[str, Split]:
    """The split of every emoji, by id, where that fold of the evaluation families, from 0 on, is the test."""
    of: dict[int, Split] = dict.fromkeys(range(FOLDS), "train")
    of |= {fold: "test", (fold + 1) % FOLDS: "val"}
    place = folds()
    return {e.id: of[place[e.id]] if e.id in place else "pretrain" for e in emoji.labels()}


@lru_cache(maxsize=1)
def folds() -> Mapping[str, int]:
    """The fold of every evaluation emoji, by id.

    A family goes to the fold that has the fewest emoji of its subcategory, of equal ones to that with the
    fewest in all; biggest families first, and those of one size in an order drawn from `SEED`.
    """
    seen, members = pretraining(), _members()
    place: dict[str, int] = {}
    total = [0] * FOLDS
    for subcategory, names in _homes().items():
        given = [0] * FOLDS
        sizes = {n: len(members[n]) for n in names if members[n][0].id not in seen}
        for name in _ordered(subcategory, sizes):
            k = min(range(FOLDS), key=lambda k: (given[k], total[k]))
            given[k], total[k] = given[k] + sizes[name], total[k] + sizes[name]
            place |= {e.id: k for e in members[name]}
    return place


@lru_cache(maxsize=1)
def pretraining() -> frozenset[str]:
    """The ids of the emoji whose families are of the pre-training.

    A family goes to the part of `SHARES` that lacks most of its share, biggest families first, so that small
    classes are divided fairly too; families of one size come in an order drawn from `SEED`.
    """
    members = _members()
    return frozenset(
        e.id
        for subcategory, names in _homes().items()
        for name, part in _assigned(subcategory, {n: len(members[n]) for n in names}).items()
        if part == "pretrain"
        for e in members[name]
    )


@lru_cache(maxsize=1)
def family_of() -> Mapping[str, str]:
    """The family of every emoji, by id. A family is the drawings of one thing and of variants of it."""
    return families(emoji.labels())


@lru_cache(maxsize=1)
def _members() -> Mapping[str, list[emoji.Emoji]]:
    """The emoji of every family."""
    family = family_of()
    members: dict[str, list[emoji.Emoji]] = defaultdict(list)
    for e in emoji.labels():
        members[family[e.id]].append(e)
    return members


def _homes() -> Mapping[str, list[str]]:
    """The families of every subcategory; one that spans several is assigned where most of its members are."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name, of in _members().items():
        homes[Counter(e.subcategory for e in of).most_common(1)[0][0]].append(name)
    return homes


def _assigned(subcategory: str, sizes: Mapping[str, int]) -> dict[str, Split]:
    """The part of `SHARES` of each family of one subcategory, given how many members each has."""
    total, given = sum(sizes.values()), dict.fromkeys(SHARES, 0)
    assigned: dict[str, Split] = {}
    for name in _ordered(subcategory, sizes):
        split = max(SHARES, key=lambda s: SHARES[s] * total - given[s])
        assigned[name], given[split] = split, given[split] + sizes[name]
    return assigned


def _ordered(subcategory: str, sizes: Mapping[str, int]) -> list[str]:
    """Families by size, the biggest first; equal ones in an order drawn from `SEED`."""
    return sorted(sizes, key=lambda n: (-sizes[n], digest([SEED, subcategory, n])))


def classes(ids: Collection[str]) -> tuple[str, ...]:
    """The subcategories that are classes, in Unicode's order, given the emoji that exist in every style.

    They are the same whichever fold is the test.
    """
    there = set(ids)
    place, family = folds(), family_of()
    found: dict[str, list[str]] = defaultdict(list)
    for e in emoji.labels():
        if e.id in there and e.id in place:
            found[e.subcategory].append(e.id)
    return tuple(
        subcategory
        for subcategory, of in found.items()
        if len(of) >= LEAST
        and len({family[i] for i in of}) >= LEAST_FAMILIES
        and min([place[i] for i in of].count(k) for k in range(FOLDS)) >= LEAST_IN_FOLD
    )
