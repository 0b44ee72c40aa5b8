"""Scores by example as they are published: the names of the examples once for all cells that share them.

In a store every cell's file holds the names of its examples and of their groups beside the scores, so that it
can be read alone. Published, hundreds of cells were tested on the same examples, and names would be nineteen
of twenty bytes. So a published file holds the scores and the name of a second file, which holds the names.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.contract import Units
from bench.store.artifacts import artifact_name, pack_arrays, read_arrays, units_of


def split(data: bytes) -> tuple[bytes, bytes]:
    """A file as a store has it, in two: the scores with the name of the other, and that other."""
    import numpy as np

    names = read_arrays(data, "units")
    values = names.pop("values")
    shared = pack_arrays(names)
    return pack_arrays({"values": values, "names": np.asarray(artifact_name(shared, "npz"))}), shared


def names_of(data: bytes, name: str) -> str:
    """The name of the file with the names of the examples; "" if ``data`` holds them itself.

    Raises:
        BenchError: ``data`` are no scores by example.
    """
    return str(read_arrays(data, name).get("names", ""))


def join(data: bytes, name: str, get: Callable[[str], bytes]) -> Units:
    """Scores by example of either form; ``get`` opens the file with the names.

    Raises:
        BenchError: one of the two files is absent, damaged or something else.
    """
    arrays = read_arrays(data, name)
    if "names" in arrays:
        other = str(arrays["names"])
        arrays |= read_arrays(get(other), other)
    return units_of(arrays, name)
