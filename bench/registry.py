"""Finds tracks and methods: a file in the right folder is enough, nothing has to be listed.

Tracks: ``bench/tracks/<name>/track.py`` with ``TRACK``. Methods: every file of ``methods/`` and
``baselines/<track>/``, the installed entry points ``bench.methods``, and files named with ``--plugin``. A
plugin is code, so it is read only if the user named or installed it. A file of ours that cannot be read is
reported and skipped; one that the user named and that cannot be read is an error. A file of ``methods/`` or
``baselines/`` that is named with ``--plugin`` is what it is without.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import bench
from bench.contract import BenchError, Method, Task, Track
from bench.errors import nearest

Role = Literal["method", "baseline", "plugin"]

#: Held while a file is imported, which Python's own locks of modules do not cover: a node of a cluster
#: begins several cells in threads of one process, and a thread must not see the module half-read.
_LOADING = threading.RLock()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a method or a track is loaded from, in any process: the name of a module, or a file.

    A relative ``file`` is one that `bench launch` brought along: it lies below the clone, which every node
    has under a path of its own.
    """

    module: str = ""
    file: str = ""

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """The origin of a file, as any node finds it."""
        if bench.CLONE is not None and path.is_relative_to(bench.CLONE / bench.LAUNCHED):
            return cls(file=path.relative_to(bench.CLONE).as_posix())
        return cls(file=str(path))

    @property
    def place(self) -> Path:
        """The file on this machine."""
        return (bench.CLONE or Path()) / self.file  # an absolute path stays as it is

    @property
    def code(self) -> dict[str, Path]:
        """Name -> place of code that is not ours, for provenance: the file of a plugin, the package of an
        entry point.
        """
        top = self.module.partition(".")[0]
        if self.file:
            return {self.source_name: self.place}
        spec = importlib.util.find_spec(top) if top != "bench" else None
        if spec is None:
            return {}
        folders = list(spec.submodule_search_locations or ())
        return {top: Path(folders[0] if folders else spec.origin or "")}

    @property
    def source_name(self) -> str:
        """The name of this code in provenance."""
        return f"plugin:{Path(self.file).name}" if self.file else self.module

    @property
    def path(self) -> str:
        """The file that it was loaded from; "" if it was not loaded yet."""
        return (
            str(self.place)
            if self.file
            else str(getattr(sys.modules.get(self.module), "__file__", None) or "")
        )

    def load(self) -> ModuleType:
        """Import the module or the file (once a process)."""
        if not self.file:
            return importlib.import_module(self.module)
        path = self.place
        name = f"bench_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
        with _LOADING:
            if name in sys.modules:
                return sys.modules[name]
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise BenchError(f"--plugin {path}: not a Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
            return module


@dataclass(frozen=True, slots=True)
class Found:
    """A method with its origin and its role."""

    method: Method
    origin: Origin
    role: Role


def _folder(name: str) -> list[Path]:
    """Folders of that name on bench's path: inside a wheel, or beside ``bench/`` in a clone."""
    return [p for base in bench.__path__ if (p := Path(base) / name).is_dir()]


def _module_of_ours(path: Path) -> str:
    """The module of a file in ``methods/`` or ``baselines/``, which is found without being named; "" of any
    other file.
    """
    for base in (Path(p).resolve() for p in bench.__path__):
        parts = path.relative_to(base).with_suffix("").parts if path.is_relative_to(base) else ()
        if parts and parts[0] in ("methods", "baselines"):
            return ".".join(("bench", *parts))
    return ""


#: Attributes under which decorators leave what a function was declared as: methods, and what boards show.
METHODS, ELEMENTS = "__bench_methods__", "__bench_elements__"


def declared_in(module: ModuleType, attribute: str) -> list[Any]:
    """What the functions of a module were declared as; functions that it imported do not count."""
    found: list[Any] = []
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__:
            found += getattr(value, attribute, [])
    return found


def methods_in(module: ModuleType) -> list[Method]:
    """Methods declared in a module; those of functions that it imported do not count."""
    return declared_in(module, METHODS)


def selects(pattern: str, row: str) -> bool:
    """Whether a pattern of ``-m`` or of the suite selects a row: by its exact name or by shell wildcards.

    ``x`` is that row alone, ``x/*`` are the variants of the method ``x``, and ``x*`` is all that begins so.
    """
    return fnmatchcase(row, pattern)


def near_rows(pattern: str, rows: Iterable[str]) -> str:
    """What to say after "no row matches": the variants of a method that has no row without, or near rows."""
    known = list(rows)
    if any(r.startswith(f"{pattern}/") for r in known):
        return f"; its variants are rows: {pattern + '/*'!r}"
    if longer := [r for r in known if pattern and r.startswith(pattern)]:
        return f"; {pattern + '*'!r} would select {', '.join(longer)}"
    return f"{nearest(pattern, known)} (rows of a file of your own need --plugin FILE)"


def mistake(error: BaseException, file: str) -> str:
    """The message for a file that cannot be imported, with the line of the error."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    at = lines[-1] if lines else None
    if isinstance(error, SyntaxError):  # of this file, or of one that it imports
        file, at = error.filename or file, error.lineno
    place = f"{file}{f':{at}' if at else ''}: "
    if isinstance(error, BenchError):
        return f"{place}{error}"
    if isinstance(error, SystemExit):
        return (
            f"{place}it ends the program (SystemExit: {error}) while it is imported; what a script does when"
            " it is run belongs below `if __name__ == '__main__':`"
        )
    return f"{place}{type(error).__name__}: {error}"


#: What a file may raise while it is imported. A file that ends the program must not end the command, which
#: would report success with whatever exit code the file chose.
_AT_IMPORT = (Exception, SystemExit)


#: What `Track` leaves to each track to set.
_SET_BY_TRACKS = ("name", "metrics", "reference", "Grid", "Run")


def _whole(track: Track, file: str) -> Track:
    """The track, if it sets all that a track has to; `BenchError` with what it lacks if it does not."""
    if lacks := [name for name in _SET_BY_TRACKS if not hasattr(track, name)]:
        raise BenchError(f"{file}: {type(track).__name__} does not set {', '.join(lacks)}")
    return track


def _track_of_ours(name: str, origin: Origin) -> Track:
    """The track in the folder of that name; `BenchError` with the place of a mistake in it."""
    file = str(next(p for d in _folder("tracks") if (p := d / name / "track.py").is_file()))
    try:
        track = getattr(origin.load(), "TRACK", None)
    except _AT_IMPORT as e:
        raise BenchError(mistake(e, file)) from e
    if not isinstance(track, Track):
        raise BenchError(f"{file}: it sets no TRACK; expected TRACK = …(), an instance of the track's class")
    if _whole(track, file).name != name:
        raise BenchError(f"{file}: the track is named {track.name!r}; expected {name!r}, as its folder is")
    return track


@dataclass(slots=True)
class Registry:
    """All tracks and rows that there are. ``problems``: sentences on files that could not be read."""

    plugins: Sequence[str | Path] = ()
    problems: list[str] = field(default_factory=list)
    _tracks: dict[str, tuple[Track, Origin]] = field(default_factory=dict)
    _rows: dict[str, dict[str, Found]] = field(default_factory=dict)
    _from_plugins: list[Found] | None = None
    _modules: list[ModuleType] = field(default_factory=list)
    _read: dict[str, list[Found]] = field(default_factory=dict)

    def track_names(self) -> list[str]:
        """Names of all tracks. Tracks of ours are not imported for this."""
        ours = [p.parent.name for d in _folder("tracks") for p in sorted(d.glob("*/track.py"))]
        self._plugin_methods()
        return sorted({*ours, *self._tracks})

    def track(self, name: str) -> Track:
        """The track of that name; `BenchError` with the nearest name if there is none."""
        return self.track_found(name)[0]

    def track_found(self, name: str) -> tuple[Track, Origin]:
        """The track of that name with its origin."""
        if name not in self._tracks:
            if name not in self.track_names():
                raise BenchError(f"no track {name!r}{nearest(name, self.track_names())}")
            if name not in self._tracks:
                origin = Origin(module=f"bench.tracks.{name}.track")
                self._tracks[name] = (_track_of_ours(name, origin), origin)
        return self._tracks[name]

    def track_of(self, name: str, task: Task) -> tuple[Track, Origin]:
        """The track that answers for a task, with its origin.

        Of data of the user's own (`Task.brought`) that is the one in the module ``brought`` beside the
        track's: it opens other data and is all else that the track is. What opens our data is no part of it,
        nor it of that, so that records on the one do not depend on the code of the other.
        """
        track, origin = self.track_found(name)
        if not task.brought:
            return track, origin
        there = self._brought_origin(name)
        return there.load().TRACK, there

    def brought(self, name: str) -> ModuleType | None:
        """The module of a track for data of the user's own; None if it takes none."""
        module = self._brought_origin(name)
        return module.load() if importlib.util.find_spec(module.module) is not None else None

    def _brought_origin(self, name: str) -> Origin:
        return Origin(module=f"bench.tracks.{name}.brought")

    def rows(self, track: str) -> dict[str, Found]:
        """All rows of a track: name -> method with its origin; papers' methods first, then baselines, then
        plugins.
        """
        if track not in self._rows:
            self.track(track)
            self._rows[track] = {}
            for found in (*self._ours("methods", "method"), *self._ours(f"baselines/{track}", "baseline")):
                self._add(track, found)
            for found in self._plugin_methods():
                self._add(track, found)
            self._check_reference(track)
        return self._rows[track]

    def row(self, track: str, row: str) -> Found:
        """The method of a row; `BenchError` with the nearest row if there is none."""
        rows = self.rows(track)
        if row not in rows:
            raise BenchError(f"track {track} has no row {row!r}{nearest(row, rows)}")
        return rows[row]

    def match(self, track: str, patterns: Sequence[str], where: str = "") -> list[str]:
        """Rows that any of the patterns selects, see `selects`; a pattern that selects none is an error."""
        rows, out = self.rows(track), []
        for pattern in patterns:
            hits = [r for r in rows if selects(pattern, r)]
            if not hits:
                raise BenchError(
                    f"{where}no row of track {track} matches {pattern!r}{near_rows(pattern, rows)}"
                )
            out += [r for r in hits if r not in out]
        return out

    def plugin_files(self) -> dict[str, Path]:
        """Name -> place of all code that is not ours, for provenance; a name is ``plugin:<file>`` or that of
        a package.
        """
        paths = [Path(p).resolve() for p in self.plugins]
        files = {f"plugin:{p.name}": p for p in paths if not _module_of_ours(p)}
        for found in self._plugin_methods():
            files |= found.origin.code
        return files

    def plugin_modules(self) -> list[ModuleType]:
        """The plugins and the modules of entry points, as far as they could be read."""
        self._plugin_methods()
        return list(self._modules)

    # ------------------------------------------------------------------------------------------ internals

    def _ours(self, folder: str, role: Role) -> list[Found]:
        """Methods of a folder of ours. It is read once, so that each problem is reported once."""
        if folder in self._read:
            return self._read[folder]
        found = self._read[folder] = []
        for path in sorted(p for d in _folder(folder) for p in d.glob("*.py") if p.name[0] not in "_."):
            origin = Origin(module=".".join(("bench", *folder.split("/"), path.stem)))
            try:
                found += [Found(m, origin, role) for m in methods_in(origin.load())]
            except _AT_IMPORT as e:
                self.problems.append(f"not read: {mistake(e, str(path))}")
        return found

    def _check_reference(self, track: str) -> None:
        """Report a reference that is no row: boards would lack the differences to it without a word."""
        reference, rows = self.track(track).reference, self._rows[track]
        if reference not in rows:
            self.problems.append(
                f"track {track}: its reference {reference!r} is no row{nearest(reference, rows)}"
            )

    def _add(self, track: str, found: Found) -> None:
        if found.method.track != track:
            return
        for row in found.method.rows():
            other = self._rows[track].get(row)
            if other is not None and other.method.fn is not found.method.fn:
                names = f"{other.origin.source_name} and {found.origin.source_name}"
                raise BenchError(
                    f"two methods make the row {row!r} of track {track}: {names}; give one another id="
                )
            self._rows[track][row] = found

    def _plugin_methods(self) -> list[Found]:
        if self._from_plugins is not None:
            return self._from_plugins
        self._from_plugins = []
        places: list[tuple[Origin, str]] = []
        for given in self.plugins:
            path = Path(given).resolve()
            if not path.is_file():
                raise BenchError(f"--plugin {given}: no such file")
            if module := _module_of_ours(path):
                self._read_ours(Origin(module=module), path)
            else:
                places.append((Origin.of_file(path), str(path)))
        for point in entry_points(group="bench.methods"):
            places.append((Origin(module=point.value.partition(":")[0]), f"entry point {point.name}"))
        read = [(origin, where, self._declared(origin, where)) for origin, where in places]
        for origin, where, methods in read:  # after all were read: one may answer the track of another
            for m in methods:
                if m.track in self._tracks or any((d / m.track).is_dir() for d in _folder("tracks")):
                    self._from_plugins.append(Found(m, origin, "plugin"))
                else:
                    self._mistaken(
                        origin, f"{where}: no track {m.track!r}{nearest(m.track, self.track_names())}"
                    )
        return self._from_plugins

    def _read_ours(self, origin: Origin, path: Path) -> None:
        """Make sure that a file of ours that the user named can be read; its folder brings its rows."""
        try:
            origin.load()
        except _AT_IMPORT as e:
            raise BenchError(mistake(e, str(path))) from e

    def _declared(self, origin: Origin, where: str) -> list[Method]:
        """Methods of a plugin or an entry point. A track that it declares is added to the registry."""
        try:
            module = origin.load()
        except _AT_IMPORT as e:
            problem = (
                f"--plugin {mistake(e, origin.path)}" if origin.file else f"{where}: {type(e).__name__}: {e}"
            )
            self._mistaken(origin, problem, e)
            return []
        self._modules.append(module)
        methods, track = methods_in(module), getattr(module, "TRACK", None)
        if isinstance(track, Track):
            self._tracks[_whole(track, where).name] = (track, origin)
        elif not methods and not declared_in(module, ELEMENTS):
            self._mistaken(
                origin,
                f"{where}: declares no method; decorate a function with @bench.contract.method",
            )
        return methods

    def _mistaken(self, origin: Origin, problem: str, cause: BaseException | None = None) -> None:
        """Raise `BenchError` for a mistake in a file that the user named; report one in an
        installed package.
        """
        if origin.file:
            raise BenchError(problem) from cause
        self.problems.append(f"not read: {problem}")
