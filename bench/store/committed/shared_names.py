"""Scores by example as they are published: the names of the examples once for all cells that share them.

In a store every cell's file holds the names of its examples and of their groups beside the scores, so that it
can be read alone. Published, hundreds of cells were tested on the same examples, and names would be nineteen
of twenty bytes. So a published file holds the scores and the name of a second file, which holds the names.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.contract import BenchError, Units
from bench.store.artifacts import artifact_name, unpack_units

if TYPE_CHECKING:
    import numpy as np


def split(data: bytes) -> tuple[bytes, bytes]:
    """A file as a store has it, in two: the scores with the name of the other, and that other."""
    names, scores = _arrays(data, "units"), {}
    scores["values"] = names.pop("values")
    shared = _packed(names)
    return _packed({**scores, "names": _text(artifact_name(shared, "npz"))}), shared


def names_of(data: bytes, name: str) -> str:
    """The name of the file with the names of the examples; "" if ``data`` holds them itself.

    Raises:
        BenchError: ``data`` are no scores by example.
    """
    return str(_arrays(data, name).get("names", ""))


def join(data: bytes, name: str, get: Callable[[str], bytes]) -> Units:
    """Scores by example of either form; ``get`` opens the file with the names.

    Raises:
        BenchError: one of the two files is absent, damaged or something else.
    """
    other = names_of(data, name)
    if not other:
        return unpack_units(data, name)
    parts = {**_arrays(get(other), other), **_arrays(data, name)}
    del parts["names"]
    return unpack_units(_packed(parts), name)


def _arrays(data: bytes, name: str) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {k: found[k] for k in found.files}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BenchError(f"{name} holds no units: {error}") from error


def _text(text: str) -> np.ndarray:
    import numpy as np

    return np.asarray(text)


def _packed(arrays: dict[str, Any]) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()
