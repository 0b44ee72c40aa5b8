"""Files without their names: what a method is given to read reveals neither path nor label.

Published image sets lie as ``<domain>/<class>/<picture>``, and the labels of a prepared table lie beside its
inputs: whoever is given the path of a test example has its label. What is given to methods is therefore read
by position, and keeps no path in any attribute, closure or argument that could be looked up.

This prevents accidents and shortcuts, no more: a method runs in the process that reads the files, and one
that is out to deceive can search this module, the frames of a running generator, a pickle, or the disk.
"""

from __future__ import annotations

import mmap
import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import numpy as np

    from bench.data.images.pictures import View

#: Where the files of every `ImageFiles` of this process lie. A fork inherits it.
_PATHS: WeakKeyDictionary[ImageFiles, tuple[Path, ...]] = WeakKeyDictionary()


class ImageFiles:
    """Image files that are read by their positions; the object itself has no attribute that names them.

    A pickle carries the paths, compressed, because the process that loads it has to find the files.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, paths: Sequence[Path]) -> None:
        _PATHS[self] = tuple(paths)

    def __len__(self) -> int:
        return len(_PATHS[self])

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (zlib.compress(pickle.dumps([str(p) for p in _PATHS[self]])),)

    def decode(self, rows: np.ndarray, view: View) -> np.ndarray:
        """Decode and cut the images at positions (k,): see `bench.data.images.pictures.decode`.

        Returns:
            (k, size, size, 3) uint8.
        """
        from bench.data.images.pictures import decode

        paths = _PATHS[self]
        return decode([paths[i] for i in rows], view)

    def stream(
        self, batches: Iterable[np.ndarray], view: View, *, seed: int, first: int
    ) -> Iterator[np.ndarray]:
        """`decode` batch after batch of positions: see `bench.data.images.pictures.stream`."""
        from bench.data.images.pictures import stream

        paths = _PATHS[self]
        return stream(([paths[i] for i in rows] for rows in batches), view, seed=seed, first=first)


def _restored(packed: bytes) -> ImageFiles:
    return ImageFiles([Path(p) for p in pickle.loads(zlib.decompress(packed))])


def mapped(path: Path, mode: Literal["r", "c"]) -> np.ndarray:
    """Map a file of numpy into memory, as a plain array: a `numpy.memmap` would have the file's name.

    Args:
        path: the file.
        mode: read-only, or copy-on-write: whoever changes the array then changes only their own view of it.

    Raises:
        OSError, ValueError, EOFError: as `numpy.load`.
    """
    import numpy as np

    named = np.load(path, mmap_mode=mode, allow_pickle=False)
    # A map begins at a multiple of this, the array where the file's header ends.
    begin = named.offset % mmap.ALLOCATIONGRANULARITY
    order: Literal["C", "F"] = "C" if named.flags.c_contiguous else "F"
    return np.ndarray(named.shape, named.dtype, named.base, begin, order=order)
