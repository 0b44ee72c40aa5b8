"""A generated log of clicks whose true probabilities are known: what there is to find was put there.

Nothing in it was recorded. It exists because no click log ships in any package, and because a scaling curve
says little without a ceiling: the AUC of the true probabilities, which no method can beat but by chance.

Eight independent fields have Zipf-distributed values, as the fields of a click log do. The logit of a click
is a sum of three parts, each scaled to a fixed share of its variance: a weight of every value (first order),
the products of every two fields' factors, where a value has other factors for every other field
(field-aware), and products of three fields' factors. A value's factors are normal draws; its part in the
logit can be learnt only from the rows that show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from bench.contract import digest
from bench.data.source import DataSource, Shipped

if TYPE_CHECKING:
    import numpy as np

#: Raise when a number of the generated log changes: records made before become stale.
VERSION = 1
#: Number of values of each field, the field's name -> its size.
SIZES: Mapping[str, int] = {
    f"f{size}": size for size in (3, 6, 12, 50, 200, 1_000, 5_000, 50_000)
}  # fmt: skip
#: How much of the variance of the logit each part has.
SHARES: Mapping[str, float] = {"first order": 0.2, "pairs": 0.6, "triples": 0.2}
#: Number of rows, and shares of them by which they are split into training, validation and test rows.
ROWS, SPLIT = 300_000, (0.7, 0.1, 0.2)
#: A value seen fewer times in training is rare.
RARE = 4
_EXPONENT, _DEVIATION, _RANK, _TRIPLES, _SEED = 1.05, 1.5, 8, 10, 20_231_004


@dataclass(frozen=True, slots=True)
class Planted:
    """The generated log; its rows are independent, so the first are for training, the last for testing.

    ``values``: (n, fields) int64, column i in [0, size of field i). ``probability``: (n,) of a click, the
    true one. ``label``: (n,) uint8, drawn with it. ``cuts``: the first validation row, the first test row.
    """

    values: np.ndarray
    probability: np.ndarray
    label: np.ndarray
    cuts: tuple[int, int]


@cache
def read() -> Planted:
    """Generate the log, the same one every time; about a second. Its arrays cannot be written to."""
    import numpy as np

    rng = np.random.default_rng(_SEED)
    values = np.stack([_zipf(rng, size) for size in SIZES.values()], axis=1)
    parts = {
        "first order": sum(rng.standard_normal(s)[x] for s, x in zip(SIZES.values(), values.T, strict=True)),
        "pairs": _products(rng, values, list(combinations(range(len(SIZES)), 2))),
        "triples": _products(rng, values, _some_triples(rng)),
    }
    logit = sum(
        np.sqrt(SHARES[name]) * (part - part.mean()) / part.std() for name, part in parts.items()
    )  # fmt: skip
    probability = 1 / (1 + np.exp(-_DEVIATION * logit / logit.std()))
    label = (rng.random(ROWS) < probability).astype(np.uint8)
    for array in (values, probability, label):
        array.flags.writeable = False
    first = round(SPLIT[0] * ROWS)
    return Planted(values, probability, label, (first, first + round(SPLIT[1] * ROWS)))


def _zipf(rng: np.random.Generator, size: int) -> np.ndarray:
    """A field's values in all rows: the k-th of ``size`` values with probability ~ k ** -1.05."""
    import numpy as np

    weights = np.arange(1, size + 1) ** -_EXPONENT
    return rng.choice(size, ROWS, p=weights / weights.sum())


def _some_triples(rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Ten different triples of fields."""
    triples = list(combinations(range(len(SIZES)), 3))
    return [triples[i] for i in rng.choice(len(triples), _TRIPLES, replace=False)]


def _products(rng: np.random.Generator, values: np.ndarray, groups: list[tuple[int, ...]]) -> np.ndarray:
    """sum over groups of fields of sum_r prod_i v_{i, x_i, r}, r up to 8: (n,).

    Every group draws factors of its own for each of its fields' values, (size, 8) from N(0, 1).
    """
    import numpy as np

    sizes, total = list(SIZES.values()), np.zeros(len(values))
    for fields in groups:
        product = np.ones((len(values), _RANK))
        for i in fields:
            product *= rng.standard_normal((sizes[i], _RANK))[values[:, i]]
        total += product.sum(1)
    return total


def fingerprint() -> str:
    """16 hexadecimal digits over all that the log is made by, and `VERSION`."""
    made_by = (list(SIZES.values()), dict(SHARES), ROWS, SPLIT, _EXPONENT, _DEVIATION, _RANK, _TRIPLES, _SEED)
    return digest({"version": VERSION, "planted": made_by})


def data_source(name: str) -> DataSource:
    """The generated log as an entry of the catalogue: it is never missing."""
    return Shipped(name=name, why_missing=lambda: None, identity=fingerprint)
