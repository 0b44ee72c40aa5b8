"""Which emoji are one drawing idea: the unit of every split of emoji pictures.

A picture of a family in training and another of it in test would be nearly the same picture twice. Three
rules, joined transitively:

1. by code points: skin tone, hair, gender, direction and colour parts are dropped, a man and a woman are a
   person, a boy and a girl a child; equal remains are one family (a farmer, a man farmer, a woman farmer);
2. by name, within a subcategory: colour and size words and "face" are dropped; equal remains are one family
   (a red and a green apple; a dog and a dog's face);
3. by hand (`TOGETHER`), where neither tells it, written after reading all names and looking at the pairs of
   pictures most alike in four styles. Symbols in a frame of one make (letters in boxes, keycaps, signs of the
   zodiac) are one family: the frame is most of the picture.

A family may span subcategories (`SPANNING`). A split must still keep it together: it is cut once, as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Protocol


class Named(Protocol):
    """What the rules read of an emoji: its code points, in lower case and joined by hyphens, and its name."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def subcategory(self) -> str: ...  # noqa: D102


#: Code points that vary a drawing: presentation, joiner, skin tones, hair, female, male, rightwards, squares
#: that stand for a colour.
_VARYING = frozenset(
    {
        *("fe0f", "200d", "1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff", "1f9b0", "1f9b1", "1f9b2", "1f9b3"),
        *("2640", "2642", "27a1", "2b1b", "1f7eb", "1f7e9"),
    }
)
_SAME = {"1f468": "1f9d1", "1f469": "1f9d1", "1f466": "1f9d2", "1f467": "1f9d2"}
_COLOURS = "red|orange|yellow|green|light blue|blue|purple|brown|black|white|pink|grey"
_WORDS = re.compile(rf"\b(?:{_COLOURS}|large|medium|small|heavy|face|sign|symbol|ornament)\b")

#: Family -> patterns of ``subcategory/name``. A family may gather whole families of the other rules.
TOGETHER: Mapping[str, tuple[str, ...]] = {
    # faces: one expression, whoever wears it
    "grin": (
        "face-smiling/grinning face*",
        "face-smiling/smiling face with open mouth*",
        "cat-face/smiling cat face with open mouth",
        "cat-face/grinning cat face *",
        "animal-mammal/cat face",  # Fluent 3D has one picture for this and the smiling cat
    ),
    "laugh": ("*/rolling on the floor laughing", "*/*face with tears of joy"),
    "heart eyes": ("face-affection/*heart-shaped eyes", "cat-face/*heart-shaped eyes"),
    "kiss": ("face-affection/*kiss*", "cat-face/kissing*"),
    "smile": (
        "face-smiling/slightly smiling face",
        "face-smiling/upside-down face",
        "face-smiling/smiling face with smiling eyes",
        "face-smiling/smiling face with halo",
        "face-affection/*three hearts",
        "face-affection/white smiling face",
        "face-affection/smiling face with tear",
        "face-sleepy/relieved face",
    ),
    "tongue out": ("face-tongue/face with stuck-out*",),
    "hand over mouth": ("face-hand/*hand*mouth",),
    "no expression": (
        "face-neutral*/neutral face",
        "face-neutral*/expressionless face",
        "face-neutral*/face without mouth",
        "face-neutral*/dotted line face",
        "face-neutral*/face with one eyebrow raised",
    ),
    "smirk": ("face-neutral*/smirking face", "face-neutral*/unamused face", "cat-face/*wry smile"),
    "head shake": ("face-neutral*/*shaking*",),
    "asleep": ("face-sleepy/sleepy face", "face-sleepy/sleeping face"),
    "frown": (
        "face-concerned/*frowning face",
        "face-concerned/confused face",
        "face-concerned/worried face",
        "face-concerned/face with diagonal mouth",
        "face-concerned/face with open mouth*",
        "face-concerned/frowning face with open mouth",
        "face-concerned/hushed face",
        "face-concerned/astonished face",
        "face-concerned/anguished face",
        "face-concerned/fearful face",
        "face-concerned/disappointed but relieved face",
    ),
    "pleading": ("face-concerned/face with pleading eyes", "face-concerned/face holding back tears"),
    "scream": ("face-concerned/face screaming*", "cat-face/weary*"),
    "cry": ("face-concerned/*crying*", "cat-face/crying*"),
    "dejected": (
        "face-concerned/disappointed face",
        "face-concerned/face with cold sweat",
        "face-sleepy/pensive face",
    ),
    "squint in pain": ("face-concerned/confounded face", "face-concerned/persevering face"),
    "weary": ("face-concerned/weary face", "face-concerned/tired face"),
    "anger": (
        "face-negative/pouting face",
        "face-negative/angry face",
        "face-negative/serious face*",
        "cat-face/pouting*",
    ),
    "horns": ("face-negative/*horns", "face-negative/imp"),
    "skull": ("face-negative/skull*",),
    "wise monkeys": ("monkey-face/*",),
    # hearts, bubbles
    "heart": (
        "heart/*heart",
        "heart/heart on fire",
        "heart/heart with *",
        "heart/heart exclamation",
        "heart/* hearts",
        "game/black heart suit",
    ),
    "bubble": ("emotion/*bubble", "emotion/*balloon"),
    # hands, body
    "raised hand": (
        "hand-fingers-open/raised hand",
        "*/raised back of hand",
        "*/hand with fingers splayed",
        "*/raised hand with part*",
    ),
    "sideways hand": ("hand-fingers-open/rightwards hand", "hand-fingers-open/leftwards hand"),
    "flat palm": ("hand-fingers-open/palm *",),
    "pushing hand": ("hand-fingers-open/* pushing hand",),
    "pointing finger": ("hand-single-finger/white *",),
    "thumb": ("hand-fingers-closed/thumbs *",),
    "fist": ("hand-fingers-closed/*fist*",),
    "arm": ("body-parts/flexed biceps", "body-parts/mechanical arm"),
    "leg": ("body-parts/leg", "body-parts/mechanical leg"),
    "ear": ("body-parts/ear*",),
    "eye": ("body-parts/eye*",),
    "lips": ("body-parts/mouth", "body-parts/biting lip", "emotion/kiss mark"),
    # people
    "person": ("person/[!b]*", "person/boy", "person/bearded person"),
    "frowning or pouting person": ("person-gesture/person frowning", "person-gesture/*pouting face"),
    "royalty": ("person-role/person with crown", "person-role/prince*"),
    "pregnant": ("person-role/pregnant*",),
    "feeding a baby": ("person-role/*feeding*",),
    "tuxedo": ("person-role/*tuxedo",),
    "father christmas": ("person-fantasy/* christmas", "person-fantasy/mx claus"),
    "dancer": ("person-activity/dancer", "person-activity/man dancing"),
    "person in wheelchair": ("person-activity/*wheelchair*",),
    "person walking": ("person-activity/pedestrian", "person-activity/runner"),
    "cyclist": ("person-sport/*bicyclist",),
    "holding hands": ("family/*holding hands",),
    "couple kissing or with heart": ("family/kiss*", "family/couple*"),
    "family": ("family/family:*", "person-symbol/family*"),
    "bust": ("person-symbol/bust*", "person-symbol/speaking head"),
    # animals, plants
    "dog": ("animal-mammal/*dog*", "animal-mammal/poodle"),
    "cattle": ("animal-mammal/cow*", "animal-mammal/ox", "animal-mammal/*buffalo"),
    "pig": ("animal-mammal/pig*",),
    "mouse": ("animal-mammal/mouse*", "animal-mammal/rat"),
    "big cat": ("animal-mammal/tiger*", "animal-mammal/leopard"),
    "sheep": ("animal-mammal/ram", "animal-mammal/sheep"),
    "camel": ("animal-mammal/*camel",),
    "bear": ("animal-mammal/bear face", "animal-mammal/polar bear"),
    "elephant": ("animal-mammal/elephant", "animal-mammal/mammoth"),
    "chick": ("animal-bird/*chick",),
    "whale": ("animal-marine/*whale",),
    "fish": ("animal-marine/fish", "animal-marine/tropical fish"),
    "clover": ("plant-other/shamrock", "plant-other/four leaf clover"),
    "nest": ("plant-other/*nest*",),
    "rose": ("plant-flower/rose", "plant-flower/wilted flower"),
    "fir": ("plant-other/evergreen tree", "event/christmas tree"),
    # food
    "beer": ("drink/*beer mug*",),
    "fork and knife": ("dishware/fork and knife*",),
    # places
    "globe": ("place-map/*globe*",),
    "mountain": ("place-geographic/*mountain", "place-geographic/mount fuji", "place-geographic/volcano"),
    "tent": ("place-geographic/camping", "place-other/tent"),
    "house": ("place-building/*house*",),
    "post office": ("place-building/*post office",),
    "hotel": ("place-building/*hotel",),
    "city": (
        "place-other/cityscape*",
        "place-other/sunset over buildings",
        "place-other/night with stars",
    ),
    "sunrise": ("place-other/sunrise*",),
    "bridge": ("place-other/foggy", "place-other/bridge at night"),
    # vehicles
    "car": (
        "transport-ground/*automobile",
        "transport-ground/*taxi",
        "transport-ground/*police car",
        "transport-ground/recreational vehicle",
    ),
    "bus": ("transport-ground/*bus",),
    "high-speed train": ("transport-ground/high-speed train*",),
    "train": (
        "transport-ground/train",
        "transport-ground/metro",
        "transport-ground/light rail",
        "transport-ground/tram",
        "transport-ground/station",
    ),
    "rail car": ("transport-ground/railway car", "transport-ground/tram car"),
    "traffic light": ("transport-ground/*traffic light",),
    "wheelchair": ("transport-ground/*wheelchair",),
    "cable car": ("transport-air/*tramway", "transport-air/*cableway", "transport-air/suspension railway"),
    "airplane": ("transport-air/*airplane*",),
    "ship": ("transport-water/ship", "transport-water/passenger ship", "transport-water/ferry"),
    "motor boat": ("transport-water/speedboat", "transport-water/motor boat"),
    # time, sky
    "clock face": ("time/clock face *",),
    "hourglass": ("time/hourglass*",),
    "moon": ("sky & weather/*moon*",),
    "sun": ("sky & weather/black sun with rays", "sky & weather/sun with face"),
    "cloud": ("sky & weather/cloud*", "sky & weather/sun behind*"),
    "umbrella": ("sky & weather/*umbrella*",),
    "snowman": ("sky & weather/snowman*",),
    "star": ("sky & weather/*star",),
    # activities
    "firework": ("event/fireworks", "event/firework sparkler"),
    "ticket": ("event/*ticket*",),
    "medal": ("award-medal/* place medal", "award-medal/sports medal"),
    "baseball": ("sport/baseball", "sport/softball"),
    "card suit": ("game/black spade suit", "game/black diamond suit", "game/black club suit"),
    # objects
    "glasses": ("clothing/*glasses",),
    "coat": ("clothing/*coat",),
    "helmet": ("clothing/*helmet",),
    "loudspeaker": ("sound/speaker*",),
    "megaphone": ("sound/*loudspeaker", "sound/*megaphone"),
    "bell": ("sound/bell*",),
    "note": ("music/*musical note*",),
    "mobile phone": ("phone/mobile phone*",),
    "battery": ("computer/*battery",),
    "disc": ("computer/optical disc", "computer/dvd"),
    "camera": ("light & video/camera*",),
    "magnifying glass": ("light & video/*magnifying glass",),
    "book": ("book-paper/* book", "book-paper/books", "book-paper/notebook*", "book-paper/ledger"),
    "page": ("book-paper/page*", "book-paper/bookmark tabs"),
    "newspaper": ("book-paper/*newspaper",),
    "banknote": ("money/banknote*", "money/money with wings"),
    "chart": ("money/chart*", "office/*chart*"),
    "envelope": ("mail/*envelope*", "mail/e-mail*", "heart/love letter"),
    "tray": ("mail/*tray",),
    "mailbox": ("mail/*mailbox*",),
    "pen": ("writing/*pen",),
    "folder": ("office/*file folder",),
    "calendar": ("office/*calendar", "office/spiral notepad"),
    "pushpin": ("office/*pushpin",),
    "paperclip": ("office/*paperclip*",),
    "ruler": ("office/*ruler",),
    "padlock": ("lock/*lock*",),
    "key": ("lock/key", "lock/old key"),
    "hammer, pick, wrench": ("tool/*hammer*", "tool/pick", "tool/wrench"),
    "blade": ("tool/dagger", "tool/crossed swords"),
    "chain": ("tool/*chain*", "tool/link symbol"),
    # a frame of one make with a symbol in it: the frame is what a picture shows most of
    "keycap": ("keycap/*",),
    "boxed character": ("alphanum/*",),
    "zodiac": ("zodiac/*",),
    "religious symbol": ("religion/*",),
    "public sign": ("transport-sign/*",),
    "prohibition": ("warning/no *", "warning/do not *", "warning/non-*"),
    "player button": ("av-symbol/*triangle*", "av-symbol/* button", "av-symbol/*arrows*"),
    # other signs and symbols
    "hazard": ("warning/radioactive", "warning/biohazard"),
    "arrow": ("arrow/*arrow", "arrow/*arrow with hook", "arrow/arrow *", "arrow/*circle arrows"),
    "arrow with a word": ("arrow/* above",),
    "silenced phone": ("av-symbol/vibration mode", "av-symbol/mobile phone off"),
    "brightness": ("av-symbol/*brightness*",),
    "gender": ("gender/*",),
    "exclamation and question": ("punctuation/*exclamation*", "punctuation/*question*"),
    "check mark": ("other-symbol/*check*",),
    "cross mark": ("other-symbol/*cross mark", "math/heavy multiplication x"),
    "loop": ("other-symbol/*loop",),
    "asterisk": ("other-symbol/eight *", "other-symbol/sparkle"),
    "legal sign": ("other-symbol/copyright*", "other-symbol/registered*", "other-symbol/trade mark*"),
    "circle": ("geometric/*circle", "geometric/radio button", "other-symbol/heavy large circle"),
    "square": ("geometric/*square", "geometric/*square button"),
    "diamond": ("geometric/*diamond", "geometric/diamond shape *"),
    "triangle": ("geometric/*triangle",),
    "waving flag": (
        "flag/waving black flag",
        "flag/white flag",
        "flag/rainbow flag",
        "flag/transgender flag",
        "flag/pirate flag",
    ),
}

#: The families with members in two or more subcategories, and why they stay together nevertheless.
SPANNING: Mapping[str, str] = {
    **dict.fromkeys(
        ("laugh", "heart eyes", "kiss", "smirk", "scream", "cry", "anger"),
        "a human face and a cat with the same expression",
    ),
    "grin": "human faces and cats that grin; Fluent 3D draws the animal 'cat face' with the same picture",
    "smile": "one face with smiling eyes, filed under smiling, affection and sleepy",
    "dejected": "one face with lowered eyes, filed under concerned and sleepy",
    "heart": "the heart of the card suit is the red heart",
    "envelope": "the love letter is an envelope with a heart",
    "lips": "a kiss mark is the mouth alone",
    "family": "the sign for a family beside the families one by one",
    "fir": "the Christmas tree is the evergreen, decorated",
    "mushroom": "the brown mushroom, a vegetable, is the red one in another colour",
    "tent": "camping is a tent with surroundings",
    "chart": "the same curve, with a currency or without",
    "cross mark": "the sign of multiplication is drawn as a cross mark",
    "circle": "the hollow red circle beside the filled ones",
}


def families(emoji: Iterable[Named]) -> dict[str, str]:
    """The family of every emoji, by its id.

    A family is called as in `TOGETHER`, else by the name of its first member. All emoji that there are must
    be given, since the names of families depend on which are.
    """
    members = list(emoji)
    root = {e.id: e.id for e in members}

    def find(i: str) -> str:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    first: dict[tuple[str, ...], str] = {}
    for e in members:
        for key in _keys(e):
            root[find(e.id)] = find(first.setdefault(key, e.id))
    called: dict[str, str] = {}
    for e in members:
        if (hand := by_hand(e)) is not None:
            called[find(e.id)] = hand
    for e in members:
        called.setdefault(find(e.id), e.name)
    assert len(set(called.values())) == len(called), "two families of one name"
    return {e.id: called[find(e.id)] for e in members}


def by_hand(e: Named) -> str | None:
    """The family of `TOGETHER` whose patterns an emoji matches, or None."""
    fits = _patterns().match(f"{e.subcategory}/{e.name}")
    return None if fits is None else _HANDS[int(str(fits.lastgroup)[1:])]


_HANDS = tuple(TOGETHER)


@lru_cache(maxsize=1)
def _patterns() -> re.Pattern[str]:
    """All patterns as one expression: the group that matches, ``f12``, is the position of the family."""
    families = ("|".join(map(translate, patterns)) for patterns in TOGETHER.values())
    return re.compile("|".join(f"(?P<f{i}>{alternatives})" for i, alternatives in enumerate(families)))


def _keys(e: Named) -> list[tuple[str, ...]]:
    """The keys of an emoji, one for each rule that applies: emoji with a key in common are of one family."""
    codes = [_SAME.get(c, c) for c in e.id.split("-") if c not in _VARYING]
    keys = [("codes", *codes)] if codes else []
    words = " ".join(_WORDS.sub(" ", e.name).split())
    if words:
        keys.append(("name", e.subcategory, words))
    hand = by_hand(e)
    return keys if hand is None else [*keys, ("hand", hand)]
