"""Tiny FMoW and Amazon data in the real layouts, and the ratings' rules worked out one user at a time."""

from __future__ import annotations

import random
from collections import defaultdict

from PIL import Image

from bench.data.catalog import CATALOG
from bench.data.images import fmow
from bench.data.tables import ratings

COUNTRIES = {"KEN": "Africa", "BRA": "Americas", "JPN": "Asia", "FRA": "Europe", "AUS": "Oceania"}
CATEGORIES = ("zoo", "multi-unit_residential", "airport")
#: (split, images a country and category), of years before 2013.
SPLITS = (("train", 2), ("val", 1), ("test", 1))


def satellites():
    """Every country, and Antarctica of no region; besides, later years and sequestered images."""
    folder = CATALOG["fmow"].folder
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = [
        f"{split},{category},{country},2012-12-31T23:59:59Z"
        for split, n in SPLITS
        for country in (*COUNTRIES, "ATA")
        for category in CATEGORIES
        for _ in range(n)
    ]
    # Not listed: out of distribution, and sequestered.
    lines[1:1] = ["train,zoo,KEN,2013-01-01T00:00:00Z", "seq,zoo,KEN,2010-05-05T00:00:00Z"]
    lines += ["test,zoo,JPN,2016-03-01T10:00:00Z"]
    table = ["split,category,country_code,timestamp", *lines]
    (folder / "rgb_metadata.csv").write_text("\n".join(table) + "\n")
    known = [f"Name of {code},{code},{region}" for code, region in COUNTRIES.items()]
    # As in the real table: a territory without a region.
    (folder / "country_code_mapping.csv").write_text(
        "\n".join(["name,alpha-3,region", *known, "Antarctica,ATA,"]) + "\n"
    )
    for row in range(len(lines)):
        Image.new("RGB", (4, 4), (row % 256, 0, 0)).save(folder / "images" / f"rgb_img_{row}.png")
    return folder


def ratings_lines(domain, users=30, items=40):
    """(user, item, stars, second) of one category: users of 3 to 9 ratings, half of them in all."""
    chance = random.Random(domain)
    lines = []
    for u in range(users):
        name = f"A{u:03}" if u % 2 else f"A{domain[:2]}{u:03}"
        for i in chance.sample(range(items), chance.randint(3, 9)):
            item = f"B{domain[:2].upper()}{i:07}"  # of the form of Amazon's numbers
            time = chance.randint(1_001_000_000, 1_002_000_000)
            lines.append((name, item, float(chance.randint(1, 5)), time))
    chance.shuffle(lines)
    return lines


def write_ratings():
    folder = CATALOG[ratings.NAME].folder
    folder.mkdir(parents=True, exist_ok=True)
    for domain in ratings.DOMAINS:
        text = "".join(f"{u},{i},{s},{t}\n" for u, i, s, t in ratings_lines(domain))
        (folder / f"ratings_{domain}.csv").write_text(text)
    return folder


def positives():
    """Domain, part, user and item of every positive, by names; users and items that have an index."""
    found, users, items = [], set(), set()
    for d, domain in enumerate(ratings.DOMAINS):
        lines = ratings_lines(domain)
        times = sorted(t for *_, t in lines)
        val, test = times[int(0.8 * len(times))], times[int(0.9 * len(times))]
        of = defaultdict(list)
        for line in lines:
            of[line[0]].append(line)
            items.add(line[1])
        for user, mine in of.items():
            if len(mine) >= 5:
                users.add(user)
                found += [(d, (t >= val) + (t >= test), user, item) for _, item, _, t in mine]
    return found, sorted(users), sorted(items)


def regions():
    return (*fmow.REGIONS, fmow.OTHER)
