"""Files of UK radar and of ERA5 in their real layouts, tiny."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import numpy as np
import xarray as xr

from bench.data.fields import nimrod


def varint(n):
    n &= (1 << 64) - 1
    found = b""
    while n > 127:
        found, n = found + bytes([n & 127 | 128]), n >> 7
    return found + bytes([n])


def message(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def example(**features):
    """A message `Example`, as TensorFlow writes it: numbers packed, names in any order."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = message(1, message(1, value))
        elif isinstance(value, float):
            feature = message(2, message(1, struct.pack("<f", value)))
        else:
            feature = message(3, message(1, b"".join(map(varint, value))))
        entries += message(1, message(1, name.encode()) + message(2, feature))
    return message(1, entries)


def framed(*records):
    return b"".join(struct.pack("<QI", len(r), 0) + r + struct.pack("<I", 0) for r in records)


def sequence(side, code, drawn=0.5, day=1, **other):
    codes = np.full((nimrod.FRAMES, side, side), code, "<i2")
    codes[:, 0, 0] = -1
    end = int(datetime(2019, 1, day, 1, 55, tzinfo=UTC).timestamp())
    features = {"radar": codes.tobytes(), "sample_prob": drawn, "end_time_timestamp": [end]}
    return example(**(features | {"osgb_extent_top": [-5]} | other))


def year(path, number, units="m s**-1", rename=None, hours=1, n=48, side=4, **other):
    """A file of hourly wind as the Climate Data Store gives it."""
    time = np.datetime64(f"{number}-03-01", "ns") + np.arange(n) * np.timedelta64(hours, "h")
    size = (n, side, side + 1)
    values = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None], size)
    found = xr.Dataset(
        {k: (("valid_time", "latitude", "longitude"), values + i) for i, k in enumerate(("u10", "v10"))},
        {"valid_time": time, "latitude": 60 - 0.25 * np.arange(side), "longitude": np.arange(side + 1) / 4},
    )
    for k in found:
        found[k].attrs["units"] = units
    found = found.rename(rename or {}).assign(other)
    path.mkdir(parents=True, exist_ok=True)
    return found
