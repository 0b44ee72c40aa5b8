"""What can be reached from an object by looking, and whether that gives away what a method must not know."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from pathlib import Path, PurePath
from types import CellType, FunctionType, GeneratorType, MethodType, ModuleType

import numpy as np

#: Packages whose objects are looked into by their own rules, and not attribute by attribute.
_LIBRARIES = {"builtins", "numpy", "pandas", "torch", "xarray"}
_PLAIN = (str, bytes, int, float, complex, type(None), type, ModuleType, np.generic, PurePath, Enum)
_MOST = 20_000


def reachable(root) -> Iterator[tuple[str, object]]:
    """Every object that can be reached from one, itself first, with the way to it; each once.

    By items, attributes (slots and properties too), closures, defaults, arguments of partials, bound objects,
    frames of generators and what iterators still give, bases of arrays, attributes of tables.
    """
    waiting, seen = [("given", root)], {}
    while waiting:
        where, at = waiting.pop()
        if id(at) in seen:
            continue
        seen[id(at)] = at  # kept alive, so that its id stays its own
        assert len(seen) < _MOST, f"more than {_MOST} objects, the last {where[:300]}"
        yield where, at
        if not isinstance(at, _PLAIN):
            waiting += [(where + step, child) for step, child in _children(at)]


def _children(at) -> Iterator[tuple[str, object]]:
    library = type(at).__module__.partition(".")[0]
    if isinstance(at, Mapping):
        yield from ((f"[{k!r}]", v) for k, v in at.items())
        yield from ((".keys()", k) for k in at)
    elif isinstance(at, Sequence | set | frozenset) and not isinstance(at, range):
        yield from ((f"[{i}]", v) for i, v in enumerate(at))
    elif isinstance(at, functools.partial):
        yield from ((".func", at.func), (".args", at.args), (".keywords", at.keywords))
    elif isinstance(at, FunctionType):
        yield from ((f".__closure__[{i}]", c) for i, c in enumerate(at.__closure__ or ()))
        yield from ((".__defaults__", at.__defaults__), (".__kwdefaults__", at.__kwdefaults__))
    elif isinstance(at, CellType):
        yield from ((".cell_contents", v) for v in _tried(lambda: at.cell_contents))
    elif isinstance(at, MethodType):
        yield from ((".__self__", at.__self__), (".__func__", at.__func__))
    elif isinstance(at, GeneratorType):
        yield ".gi_frame", dict(at.gi_frame.f_locals) if at.gi_frame else {}
    elif library == "numpy" and isinstance(at, np.ndarray):
        yield ".base", at.base
        yield from ((f".{name}", getattr(at, name)) for name in ("filename", "mask") if hasattr(at, name))
        if at.dtype.kind in "OSUT":
            yield ".tolist()", np.unique(at).tolist() if at.dtype.kind in "SUT" else list(at.ravel())
    elif library == "torch" and hasattr(at, "detach"):
        # A copy: the base of an array that shares memory with a tensor is that tensor, made anew.
        yield ".numpy()", at.detach().cpu().float().numpy().copy()
        yield "._base", at._base
    elif library == "pandas":
        names = ("attrs", "index", "columns", "name")
        yield from ((f".{n}", getattr(at, n)) for n in names if hasattr(at, n))
        columns = at.items() if getattr(at, "ndim", 1) == 2 else [("values", at)]
        yield from ((f"[{k!r}]", v.to_numpy()) for k, v in columns if hasattr(v, "to_numpy"))
    elif library == "xarray":
        yield from ((f".{n}", getattr(at, n)) for n in ("attrs", "encoding", "name") if hasattr(at, n))
        for part in ("coords", "data_vars"):
            # Without their own coordinates, which are made anew at every look and would never end.
            yield from ((f".{part}[{k!r}]", v.variable) for k, v in getattr(at, part, {}).items())
        yield from ((".values", v) for v in _tried(lambda: at.values) if isinstance(v, np.ndarray))
    if isinstance(at, Iterator):
        # Also a generator's: what it makes may be in no frame yet.
        yield from (("<next>", v) for values in _tried(lambda: list(islice(at, 1_000))) for v in values)
    if library not in _LIBRARIES:
        yield from _attributes(at)
    elif isinstance(at, FunctionType):
        yield from ((f".{k}", v) for k, v in vars(at).items())


def _attributes(at) -> Iterator[tuple[str, object]]:
    """All that an instance holds, and every public name, whatever computes it."""
    names = {*getattr(at, "__dict__", {}), *(n for n in dir(at) if not n.startswith("_"))}
    for kind in type(at).__mro__:
        slots = getattr(kind, "__slots__", ())
        names |= {slots} if isinstance(slots, str) else set(slots)
    for name in sorted(names - {"__dict__", "__weakref__"}):
        for value in _tried(lambda name=name: getattr(at, name)):
            own = isinstance(value, MethodType) and value.__self__ is at and not value.__func__.__closure__
            if not own:  # nothing is there but the instance and its class's code
                yield f".{name}", value


def _tried(get) -> list:
    """What it gives, or nothing: a property may refuse."""
    try:
        return [get()]
    except Exception:
        return []


# ---------------------------------------------------------------------------------------------------- judging


def leaks(
    root,
    *,
    secrets: Sequence[np.ndarray] = (),
    known: Sequence[np.ndarray] = (),
    root_folder: Path,
    names: Collection[str] = (),
    allowed: Collection[str] = (),
) -> list[str]:
    """What can be reached from ``root`` and must not be, each said with the way to it.

    Args:
        root: what a method is given.
        secrets: labels (n,) or pictures (n, …) of the test part.
        known: arrays that a method is meant to have, though their values may look like a secret.
        root_folder: of the data sets.
        names: files of test pictures and folders of classes.
        allowed: texts that the method knows from its settings.
    """
    mine, found = {id(a) for a in known}, []
    for where, at in reachable(root):
        if isinstance(at, PurePath | str | bytes):
            if str(at) not in allowed and (why := _names_a_file(at, root_folder, names)):
                found.append(f"{where} is {why}: {at!r}")
        elif isinstance(at, np.ndarray) and id(at) not in mine:
            found += [f"{where} holds the truth" for s in secrets if _holds(at, s)]
        elif isinstance(at, Sequence) and at and id(at) not in mine and not isinstance(at, range):
            values = np.array(at) if all(isinstance(v, int | float | str) for v in at) else np.empty(0)
            found += [f"{where} lists the truth" for s in secrets if _holds(values, s)]
    return found


def _names_a_file(text, folder: Path, names: Collection[str]) -> str | None:
    if isinstance(text, PurePath):
        return "a path"
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not text or len(text) > 4_096 or "\0" in text or "\n" in text:
        return None
    if set(PurePath(text.replace("\\", "/")).parts) & set(names) and ("/" in text or "." in text):
        return "a path with the name of a class or of a picture"
    if ("/" in text or "." in text) and (folder / text).exists() and (folder / text) != folder:
        return "the name of a file"
    return None


def _holds(values: np.ndarray, secret: np.ndarray) -> bool:
    """Whether an array holds a secret: labels in a row, in any order if there are several, or a picture."""
    if secret.ndim > 1:
        if values.shape[1:] != secret.shape[1:] or values.dtype != secret.dtype:
            return False
        return bool({v.tobytes() for v in values} & {s.tobytes() for s in secret})
    if values.ndim == 2 and 1 < values.shape[1] < 64:
        return any(_holds(column, secret) for column in values.T)
    flat = values.ravel()
    if len(flat) < len(secret) or values.ndim > 2 or flat.dtype.kind not in "biufU":
        return False
    if (flat.dtype.kind == "U") != (secret.dtype.kind == "U"):
        return False
    codes, wanted = _coded(flat, secret)
    return _in_a_row(codes, wanted) or _in_any_order(codes, wanted)


def _coded(values: np.ndarray, secret: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as positions among the secret's values; -1 for other values."""
    kinds = np.unique(secret)
    at = np.minimum(np.searchsorted(kinds, values), len(kinds) - 1)
    codes = np.where(kinds[at] == values, at, -1)
    return codes.astype(np.int64), np.searchsorted(kinds, secret).astype(np.int64)


def _in_a_row(codes: np.ndarray, wanted: np.ndarray) -> bool:
    text, part, at = codes.tobytes(), wanted.tobytes(), -1
    while (at := text.find(part, at + 1)) >= 0:
        if at % codes.itemsize == 0:
            return True
    return False


def _in_any_order(codes: np.ndarray, wanted: np.ndarray) -> bool:
    """Of two labels nothing can be said: half of all arrays would have as many of each by chance."""
    kinds = Counter(wanted.tolist())
    if len(kinds) < 3:
        return False
    fits = np.ones(len(codes) - len(wanted) + 1, bool)
    for kind, n in kinds.items():
        sums = np.cumsum(np.concatenate([[0], codes == kind]))
        fits &= sums[len(wanted) :] - sums[: -len(wanted)] == n
    return bool(fits.any())
