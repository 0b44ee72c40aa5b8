"""What is too big for a record: units, views, stages and checkpoints. Units and views are named by their
digests.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cache import cache_folder
from bench.contract import BenchError, Units
from bench.store.checkpoints import Checkpoints, forget_old
from bench.store.files import Files, StoreError, check_key
from bench.store.lease import Lease
from bench.store.stages import EMBEDDED, Stages

if TYPE_CHECKING:
    import numpy as np

_NAME = re.compile(r"sha256-(?P<digest>[0-9a-f]{32})\.[a-z0-9]{1,8}")
_WEBP_SIDE = 16383


def artifact_name(data: bytes, suffix: str) -> str:
    """``sha256-<32 hex digits>.<suffix>`` of those bytes; raises `BenchError` for an odd suffix."""
    return check_artifact(f"sha256-{hashlib.sha256(data).hexdigest()[:32]}.{suffix.removeprefix('.')}")


def check_artifact(name: str) -> str:
    """``name`` itself; raises `BenchError` if it is not an artifact's name (and so could leave its
    folder).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BenchError(f"{name!r} is not an artifact's name: expected sha256-<32 hex digits>.<suffix>")
    return name


def check_content(name: str, data: bytes) -> bytes:
    """``data`` itself; raises `BenchError` if it is not what ``name`` names."""
    if (match := _NAME.fullmatch(name)) is None or hashlib.sha256(data).hexdigest()[:32] != match["digest"]:
        raise BenchError(f"artifact {name} is damaged: its content does not match its name")
    return data


class Artifacts(Stages):
    """The artifacts of one store (``store.artifacts``), its stages among them."""

    def __init__(self, files: Files, cache: Path | None = None, embedded: Path = EMBEDDED) -> None:
        super().__init__(files, cache or cache_folder(), embedded)
        self._forgot = False
        self._listings = set[str]()

    # -------------------------------------------------------------------------------------------------- bytes

    def put(self, data: bytes, suffix: str) -> str:
        """Store bytes under their digest, once, and return the name.

        Raises:
            StoreError: the store cannot be written.
        """
        name = artifact_name(data, suffix)
        # On an object store writing it costs one request, as looking for it would. In a folder one that is
        # there may have been cut short by a crash of the machine.
        if self._files.root is None or self._size(name) != len(data):
            self._files.write(self._path(name), data)
        return name

    def put_listing(self, data: bytes) -> str:
        """Store a list of definitions, which many cells have in common: this process writes each list once.

        Raises:
            StoreError: the store cannot be written.
        """
        name = artifact_name(data, "json")
        if name not in self._listings:
            self.put(data, "json")
            self._listings.add(name)
        return name

    def holds(self, name: str) -> bool:
        """Whether there is an artifact of that name; `get` says whether it is undamaged."""
        return self._size(check_artifact(name)) is not None

    def _size(self, name: str) -> int | None:
        folder, _, _ = self._path(name).rpartition("/")
        try:
            return self._files.names(folder).get(name)
        except OSError as error:
            raise StoreError(f"cannot read {self._files.url}/{folder}: {error}") from error

    def get(self, name: str) -> bytes:
        """The bytes of that name, verified.

        Raises:
            BenchError: there is none, or its content is not what was put.
        """
        try:
            data = self._files.read(self._path(check_artifact(name)))
        except FileNotFoundError:
            raise BenchError(f"no artifact {name} in {self._files.url}") from None
        except OSError as error:
            raise StoreError(f"cannot read artifact {name} of {self._files.url}: {error}") from error
        return check_content(name, data)

    def _path(self, name: str) -> str:
        return f"artifacts/{name[7:9]}/{name}"  # 256 folders: one with 100,000 files is slow on many disks

    # ---------------------------------------------------------------------------------------- units and views

    def put_units(self, units: Units) -> str:
        """Store per-example scores, see `pack_units`; returns the name."""
        return self.put(pack_units(units), "npz")

    def units(self, name: str) -> Units:
        """Per-example scores as they were stored, ``values`` as float64."""
        return unpack_units(self.get(name), name)

    def put_view(self, picture: np.ndarray, quality: int = 85) -> str:
        """Store a picture, uint8 (height, width, 3), as WebP; returns the name."""
        return self.put(pack_view(picture, quality), "webp")

    def view(self, name: str) -> np.ndarray:
        """A picture, uint8 (height, width, 3)."""
        return unpack_view(self.get(name), name)

    # ------------------------------------------------------------------------------------ checkpoints, leases

    def checkpoints(self, key: str, made_by: str) -> Checkpoints:
        """The checkpoints of a cell. ``made_by``: digest of the code, settings and data that it runs with."""
        if not self._forgot:
            self._forgot = True
            forget_old(self._files, self._cache)
        return Checkpoints(self._files, self._cache, key, made_by)

    def lease(self, address: str, seconds: float = 60) -> Lease:
        """The right to build ``address`` (see `Lease`): try it with ``acquire()`` or as a context manager."""
        return Lease(self._files, check_key(address), seconds)


def pack_units(units: Units) -> bytes:
    """Per-example scores as a compressed npz: integers as narrow as they fit, values as fp16.

    Values beyond fp16's range stay float32. Equal units give equal bytes.

    Raises:
        BenchError: ids, groups and values differ in length, ids repeat, or ids or groups are neither integers
            nor strings.
    """
    import numpy as np

    ids, values = _names("ids", units.ids), np.asarray(units.values, dtype=np.float64)
    if ids.ndim != 1 or ids.shape != values.shape or len(np.unique(ids)) != len(ids):
        raise BenchError(
            f"units: ids {ids.shape} and values {values.shape} have to be one list each, ids unique"
        )
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    packed = half if np.array_equal(np.isfinite(half), np.isfinite(values)) else values.astype(np.float32)
    parts: dict[str, Any] = {"ids": ids, "values": packed}
    if units.groups is not None:
        parts["groups"] = _names("groups", units.groups)
        if parts["groups"].shape != ids.shape:
            raise BenchError(
                f"units: groups {parts['groups'].shape}, expected one for each of {len(ids)} ids"
            )
    return pack_arrays(parts)


def pack_arrays(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as a compressed npz; equal arrays give equal bytes."""
    import numpy as np

    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _names(what: str, given: np.ndarray) -> np.ndarray:
    """Strings, or integers as narrow as they fit; `BenchError` for anything else."""
    import numpy as np

    names = np.asarray(given)
    if names.dtype == object:
        names = np.asarray([str(i) for i in names])
    if names.dtype.kind not in "iuU":
        raise BenchError(f"units: {what} are {names.dtype}, expected integers or strings")
    if names.dtype.kind in "iu" and len(names):
        narrow = np.promote_types(np.min_scalar_type(names.min()), np.min_scalar_type(names.max()))
        return (
            names.astype(narrow) if narrow.kind in "iu" else names
        )  # -1 and 2**63-1 have only a float in common
    return names


def unpack_units(data: bytes, name: str = "units") -> Units:
    """Units from `pack_units`; nothing is unpickled. Raises `BenchError` for bytes that are something
    else.
    """
    return units_of(read_arrays(data, name), name)


def read_arrays(data: bytes, name: str) -> dict[str, np.ndarray]:
    """The arrays of an npz; nothing is unpickled. Raises `BenchError` for bytes that are something else."""
    import zipfile

    import numpy as np

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {k: found[k] for k in found.files}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BenchError(f"{name} holds no units: {error}") from error


def units_of(arrays: Mapping[str, np.ndarray], name: str) -> Units:
    """Units from the arrays that `pack_units` packs; raises `BenchError` for others."""
    import numpy as np

    try:
        values = arrays["values"].astype(np.float64)
        return Units(ids=arrays["ids"], values=values, groups=arrays.get("groups"))
    except (ValueError, KeyError) as error:
        raise BenchError(f"{name} holds no units: {error}") from error


def pack_view(picture: np.ndarray, quality: int = 85) -> bytes:
    """A picture, uint8 (height, width, 3), as WebP; raises `BenchError` for another shape or type."""
    from PIL import Image

    if picture.dtype != "uint8" or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise BenchError(f"view: {picture.dtype} {picture.shape}, expected uint8 (height, width, 3)")
    if max(picture.shape) > _WEBP_SIDE:
        raise BenchError(f"view: {picture.shape}, a side of at most {_WEBP_SIDE} pixels fits")
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", quality=quality)
    return out.getvalue()


def unpack_view(data: bytes, name: str = "view") -> np.ndarray:
    """A picture, uint8 (height, width, 3), from `pack_view`; raises `BenchError` for bytes that are something
    else.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise BenchError(f"{name} is no picture: {error}") from error
