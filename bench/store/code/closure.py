"""The code of a cell: all definitions that it can reach. A record is stale if one of them has changed.

The walk starts from the method's function and the track's class, for a stage from its ``build``, and follows
every name in the code from file to file. The *code* of a cell is the set of (name, digest) of the definitions
found, without the modules that they are in: moving a function or splitting a file changes nothing. Statements
that run when a reached module is imported are part of it. Of a module that is passed on as a value,
everything that an attribute or a string in the code could name is part of it; where names cannot be
determined (``globals()``), the whole module.

These are left out, because they decide no number or are recorded by value:

- the contract, the registry, the engine, the store, the board, the commands and the catalogue of data sets,
  which decide which cells run, where, and how results are stored and shown;
- members of a track's class that only plan or show (`PLANS_OR_SHOWS`);
- the fields of a track's ``Grid`` and ``Run``, and the constants that it names in ``by_value``: a record
  holds the settings that its cell ran with.

An attribute that is found only when the code runs (``getattr`` with a computed name on an object whose class
is nowhere named, ``__subclasses__``) is not followed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

import bench
from bench.cache import cache_folder
from bench.contract import BenchError
from bench.store.code import definitions
from bench.store.code.definitions import Summary
from bench.store.code.names import Closure, Links, Module, Start, Walk, state_of

if TYPE_CHECKING:
    from bench.contract import Method, Stage, Track

PLUGIN = "plugin:"
_DECIDES = re.compile(r"bench\.(tracks|nn|data|methods|baselines)(\.|$)")
_SHOWS_DATA = frozenset({"bench.data.catalog", "bench.data.catalog_fields"})


def unpack_listing(data: bytes) -> tuple[tuple[str, str], ...]:
    """The pairs of a `Closure.listing`; `BenchError` if the bytes are not one."""
    try:
        return tuple((str(name), str(digest)) for name, digest in orjson.loads(data))
    except (ValueError, TypeError) as error:
        raise BenchError(f"this is no list of definitions: {error}") from error


def changes(then: Iterable[tuple[str, str]], now: Iterable[tuple[str, str]]) -> list[str]:
    """How today's code differs from that of a record: one phrase for each definition."""
    old, new = set(then), set(now)
    before, after = {name for name, _ in old}, {name for name, _ in new}
    names = {name for name, _ in old ^ new}
    how = {n: "changed" if n in before & after else "is gone" if n in before else "is new" for n in names}
    return sorted(f"{name} {what}" for name, what in how.items())


def code(extra: Mapping[str, Path]) -> Code:
    """The `Code` of this process, one object for each ``extra`` (see `Code`), so that files are read once."""
    return _code(tuple(sorted(extra.items())))


@functools.lru_cache(maxsize=8)
def _code(extra: tuple[tuple[str, Path], ...]) -> Code:
    return Code(dict(extra))


class Code:
    """Finds and reads the files whose definitions can be part of a cell's code, without importing them.

    Args:
        extra: code that is not ours: ``{"plugin:<file name>": its path}`` for a file given with ``--plugin``,
            beside which further modules may lie; ``{"<top-level package>": its folder or file}`` for an entry
            point.
        roots: folders of the package ``bench``; those of this process by default.
    """

    def __init__(self, extra: Mapping[str, Path], roots: Iterable[Path] | None = None) -> None:
        self._extra = dict(extra)
        self._roots = [*map(Path, bench.__path__)] if roots is None else [*roots]
        self._read = _Reader()
        self._modules: dict[str, Module | None] = {}
        self._known: dict[Any, Closure] = {}
        self._unchanged = 0
        self._lock = threading.RLock()
        #: What the names in a definition are, by the definition's id; for `Walk` alone.
        self.links: dict[int, Links] = {}

    def of_cell(self, track: Track, method: Method, hp: Mapping[str, Any]) -> Closure:
        """The code of a cell: of its method and its track."""
        words = frozenset(v for v in hp.values() if isinstance(v, str))
        return self.reached((Start.of(method.fn),), Start.of(type(track)), frozenset(track.by_value), words)

    def of_stage(self, track: Track, stage: Stage) -> Closure:
        """The code of a stage: of its ``build``, and the track's where that reaches it."""
        return self.reached(
            (Start.of(stage.build),), None, frozenset(track.by_value), track=Start.of(type(track))
        )

    def reached(
        self,
        starts: tuple[Start, ...],
        of: Start | None = None,
        by_value: frozenset[str] = frozenset(),
        words: frozenset[str] = frozenset(),
        track: Start | None = None,
    ) -> Closure:
        """All definitions that code can reach from ``starts`` and from the track's class ``of``.

        Args:
            starts: functions and classes.
            of: a track's class, which counts without what only plans or shows.
            by_value: constants of the track's own modules that are recorded by value.
            words: strings that may name a module which is imported by a computed name.
            track: the class that ``by_value`` and the settings are of, if it is no start.
        """
        at = (starts, of, by_value, words, track)
        with self._lock:  # a sweep runs its cells from several threads
            self._check_files()
            if at not in self._known:
                self._known[at] = Walk(self, of or track, by_value, words).run(starts, of)
                self._read.save()
            return self._known[at]

    def _check_files(self) -> None:
        """Clear everything that was read if a file changed since."""
        if not self._unchanged and any(
            m.state != state_of(m.path) for m in self._modules.values() if m is not None
        ):
            self._modules.clear()
            self._known.clear()
            self.links.clear()

    @contextmanager
    def assume_unchanged(self) -> Iterator[None]:
        """Do not check files for changes until the block ends: a check costs a millisecond for each cell."""
        with self._lock:
            self._check_files()
            self._unchanged += 1
        try:
            yield
        finally:
            with self._lock:
                self._unchanged -= 1

    # ------------------------------------------------------------------------------------------ finding files

    def module(self, name: str) -> Module | None:
        """The module of that name if its definitions can be part of code, else None."""
        if name not in self._modules:
            path = self._locate(name)
            self._modules[name] = None if path is None else Module(name, path, self._read(path))
        return self._modules[name]

    def _locate(self, name: str) -> Path | None:
        top, *rest = name.split(".")
        if top == "bench":
            counts = _DECIDES.match(name) and name not in _SHOWS_DATA
            return _below(self._roots, rest) if counts else None
        if top.startswith(
            "bench_plugin_"
        ):  # a file given with --plugin, by the name that the registry gives it
            file = getattr(sys.modules.get(name), "__file__", None)
            return Path(file) if file else None
        if top in self._extra:
            at = self._extra[top]
            return (at if not rest else None) if at.is_file() else _below([at], rest)
        beside = dict.fromkeys(p.parent for n, p in self._extra.items() if n.startswith(PLUGIN))
        return _below(beside, [top, *rest])

    def inside(self, package: str) -> Iterator[str]:
        """Names of the modules directly in a package."""
        found = self.module(package)
        top, *rest = package.split(".")
        folders = (
            [r.joinpath(*rest) for r in self._roots]
            if top == "bench"
            else [found.path.parent]
            if found
            else []
        )
        for path in sorted(p for folder in folders for p in folder.glob("*.py")):
            if path.name != "__init__.py":
                yield f"{package}.{path.stem}" if package else path.stem


def _below(roots: Iterable[Path], parts: list[str]) -> Path | None:
    for root in roots:
        at = root.joinpath(*parts)
        for path in (at.with_suffix(".py") if parts else at, at / "__init__.py"):
            if path.is_file():
                return path
    return None


class _Reader:
    """Reads files, with a cache by content in the user's cache folder: to parse all of them takes most of a
    second.
    """

    def __init__(self) -> None:
        by = hashlib.sha256(Path(definitions.__file__).read_bytes()).hexdigest()[:12]
        self._file = cache_folder() / "definitions" / f"{by}.json"
        self._cached: dict[str, Summary] | None = None
        self._new = False

    def __call__(self, path: Path) -> Summary:
        source = path.read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        if self._cached is None:
            try:
                self._cached = orjson.loads(self._file.read_bytes())
            except (OSError, ValueError):
                self._cached = {}
        if digest not in self._cached:
            self._cached[digest] = definitions.read(source)
            self._new = True
        return self._cached[digest]

    def save(self) -> None:
        """Write new entries to the cache. If it cannot be written, the files are parsed again next time."""
        if not self._new or self._cached is None:
            return
        scratch = self._file.with_name(f".{self._file.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_bytes(orjson.dumps(self._cached))
            os.replace(scratch, self._file)
        except OSError:
            scratch.unlink(missing_ok=True)
        self._new = False
