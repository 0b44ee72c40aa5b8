"""The papers' preparation of click logs as a plain loop over lines, and small logs in the real layout.

Written from the rules alone, without the code under test: the tests compare the two, the benchmark times
them.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import torch

INTEGERS, THRESHOLD = {"criteo": 13, "avazu": 0}, {"criteo": 10, "avazu": 4}
HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,"
    "device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21\n"
)


def criteo_line(rng: random.Random) -> str:
    """Label, 13 integers (empty, negative, small, large), 26 hashes (empty, frequent, rare)."""
    integers = []
    for i in range(13):
        kinds = ("", str(rng.randint(-3, 3)), str(rng.randint(0, 60)), str(int(rng.lognormvariate(6, 4))))
        integers.append(rng.choices(kinds, (1 + i % 4, 4, 6, 2))[0])
    hashes = [
        "" if rng.random() < 0.04 * (i % 3) else f"{hash((i, int(rng.expovariate(0.3)))) & 0xFFFFFFFF:08x}"
        for i in range(26)
    ]
    return "\t".join([str(int(rng.random() < 0.25)), *integers, *hashes]) + "\n"


def avazu_line(rng: random.Random) -> str:
    """id, click, hour and 21 more: hashes, small codes, -1."""
    hour = f"1410{rng.randint(21, 30)}{rng.randint(0, 23):02d}"
    codes = [
        f"{hash((i, int(rng.expovariate(0.2)))) & 0xFFFFFFFF:08x}"
        if 2 <= i < 11
        else rng.choice(["-1", "0", "1", "1005", str(rng.randint(100000, 100300))])
        for i in range(21)
    ]
    return ",".join([str(rng.getrandbits(63)), str(int(rng.random() < 0.17)), hour, *codes]) + "\n"


def write(path: Path, name: str, n: int, seed: int = 0) -> Path:
    """A log of ``n`` lines in the layout of that data set."""
    rng = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"criteo": criteo_line, "avazu": avazu_line}[name]
    with open(path, "w", encoding="ascii") as file:
        file.write(HEADER if name == "avazu" else "")
        file.writelines(line(rng) for _ in range(n))
    return path


def token(text: str) -> str:
    """Of an integer column: the bucket's name."""
    if text == "":
        return "NULL"
    v = int(text)
    return str(math.floor(math.log(v) ** 2)) if v > 2 else str(v - 2)


def fields_of(line: str, name: str) -> tuple[int, list[str]]:
    """Label and tokens of one line."""
    if name == "avazu":
        _, click, *values = line.rstrip("\n").split(",")
        return int(click), values
    label, *values = line.rstrip("\n").split("\t")
    return int(label), [token(v) for v in values[:13]] + values[13:]


def prepare(path: Path, name: str) -> tuple[list[list[int]], list[int], list[int]]:
    """Count, keep what is frequent, index: (rows of indices, 0 for rare values; labels; D of each field)."""
    counts: list[Counter[str]] = []
    for _, values in _lines(path, name):
        counts = counts or [Counter() for _ in values]
        for counter, v in zip(counts, values, strict=True):
            counter[v] += 1
    kept = [[v for v, c in counter.items() if c >= THRESHOLD[name]] for counter in counts]
    index = [{v: i + 1 for i, v in enumerate(values)} for values in kept]
    rows, labels = [], []
    for label, values in _lines(path, name):
        rows.append([known.get(v, 0) for known, v in zip(index, values, strict=True)])
        labels.append(label)
    return rows, labels, [len(known) + 1 for known in index]


def _lines(path, name):
    with open(path, encoding="ascii") as file:
        if name == "avazu":
            next(file)
        for line in file:
            yield fields_of(line, name)


def split(n: int) -> list[list[int]]:
    """torch's seeded 8:1:1 split: the lines of training, validation and test, in their order."""
    train, val = int(0.8 * n), int(0.1 * n)
    parts = torch.utils.data.random_split(
        range(n), [train, val, n - train - val], generator=torch.Generator().manual_seed(0)
    )
    return [list(p.indices) for p in parts]
