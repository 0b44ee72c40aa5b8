"""Follows names from file to file to find all definitions that a piece of code can reach."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from bench.store.artifacts import artifact_name
from bench.store.code.definitions import Definition, Ref, Summary

#: Members of a track that decide which cells there are, which of them can run and how they are shown. Their
#: values on which a number depends are recorded: the data's fingerprint, the stages' addresses, the recipe.
PLANS_OR_SHOWS = frozenset({
    "tasks", "stages", "missing", "fingerprint", "embedded", "Grid", "Run", "recipe", "by_value", "kind",
    "title", "notes", "claims", "axis", "reference", "smoke", "preload", "paired_seeds",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """Where the walk starts: a definition of a module, or the whole module (``name`` "")."""

    module: str
    name: str = ""

    @classmethod
    def of(cls, thing: Any) -> Start:
        """The start for a function or a class; for an object without a name (a lambda) its module."""
        while isinstance(thing, functools.partial):
            thing = thing.func
        if not hasattr(thing, "__qualname__"):
            thing = type(thing)
        name = str(thing.__qualname__).partition(".")[0]
        return cls(str(thing.__module__), "" if name == "<lambda>" else name)


class Closure:
    """The code of a cell or a stage.

    ``pairs``: (name, digest) of its definitions, sorted. ``files``: the files that they are in. ``name``: the
    name of the artifact with the pairs, equal for equal pairs, which records hold.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], files: Iterable[Path]) -> None:
        self.pairs, self.files = tuple(sorted(set(pairs))), tuple(sorted(set(files)))
        self.listing = orjson.dumps(self.pairs)
        self.name = artifact_name(self.listing, "json")


class Module:
    """A file as it was when it was read, with the name of its module."""

    def __init__(self, name: str, path: Path, summary: Summary) -> None:
        self.name, self.path, self.summary, self.state = name, path, summary, state_of(path)
        #: Modules that run when this one is imported, None until they were determined.
        self.runs: set[str] | None = None

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


class Modules(Protocol):
    """Finds modules by name (`bench.store.code.closure.Code`). ``links``: a cache of resolved references."""

    links: dict[int, Links]

    def module(self, name: str) -> Module | None:
        """The module of that name if its definitions can be part of code, else None."""

    def inside(self, package: str) -> Iterator[str]:
        """Names of the modules directly in a package."""


def state_of(path: Path) -> tuple[int, int]:
    """Time of change and size of a file; (0, 0) for one that is gone."""
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


#: A definition, or with the name "*" a module as a value, with "**" all of a module.
_At = tuple[str, str]


@dataclass(slots=True)
class Links:
    """The resolved references of one definition. ``to``: definitions; ``words``: attributes of these;
    ``runs``: modules that it imports; ``computed``: packages with the constant part of a computed module
    name; ``others``: names from other packages, with digests.
    """

    to: list[_At] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)
    computed: list[tuple[str, str]] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)


class Walk:
    """Computes one closure."""

    def __init__(
        self, code: Modules, track: Start | None, by_value: frozenset[str], words: frozenset[str]
    ) -> None:
        self.code, self.by_value, self.words = code, by_value, {*words}
        self.todo: list[_At] = []
        self.done: set[_At] = set()
        self.ran: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()
        self.files: set[Path] = set()
        self.computed: set[tuple[str, str]] = set()
        self.values: set[str] = set()
        self.tracks: set[_At] = set()
        self.settings: set[_At] = set()
        self.home: Path | None = None
        if track is not None and (module := code.module(track.module)) is not None:
            self.home = module.path.parent
            self._track(track.module, track.name)

    def run(self, starts: Iterable[Start], of: Start | None) -> Closure:
        """Follow all names from the starts."""
        self.todo += [(s.module, s.name or "**") for s in (*starts, *((of,) if of else ()))]
        while self.todo or self._more():
            at = self.todo.pop()
            if at not in self.done:
                self.done.add(at)
                self._reach(*at)
        return Closure(self.pairs, self.files)

    def _track(self, module: str, name: str) -> None:
        """Remember a track's class, its base classes and its settings, of which only parts count."""
        found = self.code.module(module)
        if found is None or (module, name) in self.tracks or name not in found.summary["classes"]:
            return
        self.tracks.add((module, name))
        for member in found.summary["classes"][name]:
            hits = self._linked(member["of"], found).to
            if member["names"] == [""]:
                for base in hits:
                    self._track(*base)
            elif member["names"] in (["Run"], ["Grid"]):
                self.settings |= {*hits}

    def _reach(self, module: str, name: str) -> None:
        found = self.code.module(module)
        if found is None:
            return
        summary = found.summary
        if module not in self.ran:
            self._execute(module)
        if name == "*":
            self.values.add(module)
        elif name == "**":
            self.todo += [(module, n) for n in summary["defs"]]
        elif name in summary["defs"]:
            if name in self.by_value and self.home is not None and found.path.is_relative_to(self.home):
                return
            for label, definition in self._parts(module, name, summary):
                self._add(label, definition, found)
        elif name in summary["imports"] or summary["stars"]:
            self.todo += self._resolve(["g", name], found, self.words)
        elif "__getattr__" in summary["defs"]:
            self.todo.append((module, "**"))

    def _parts(self, module: str, name: str, summary: Summary) -> Iterator[tuple[str, Definition]]:
        """The parts of a definition that count."""
        is_track, is_settings = (module, name) in self.tracks, (module, name) in self.settings
        if not is_track and not is_settings:
            yield from ((name, d) for d in summary["defs"][name])
            return
        for member in summary["classes"].get(name, ()):
            shows = is_track and member["names"] and PLANS_OR_SHOWS.issuperset(member["names"])
            if not shows and not (is_settings and member["field"]):
                yield ".".join((name, *filter(None, member["names"]))), member["of"]

    def _add(self, name: str, definition: Definition, found: Module) -> None:
        self.files.add(found.path)
        self.pairs.add((name, definition["digest"]))
        self.words.update(definition["words"])
        links = self._linked(definition, found)
        self.todo += links.to
        self.words |= links.words
        self.pairs.update(links.others)
        self.computed.update(links.computed)
        for module in links.runs:
            if module not in self.ran:
                self._execute(module)

    def _execute(self, module: str) -> None:
        """Add the statements that run when a module is imported."""
        todo = [module]
        while todo:
            name = todo.pop()
            if name in self.ran:
                continue
            self.ran.add(name)
            if (found := self.code.module(name)) is None:
                continue
            for statement in found.summary["statements"]:
                self._add("(statement)", statement, found)
            if found.runs is None:
                specs = [s for of in found.summary["imports"].values() for s in of] + found.summary["stars"]
                found.runs = {name.rpartition(".")[0], *(m for s in specs for m in _run_by(s, found))}
            todo += found.runs - self.ran

    def _more(self) -> bool:
        """Add what depends on everything found so far; returns whether there is more to do.

        Of a module that is used as a value, add what an attribute or a string could name. Of modules that are
        imported by a computed name, add those that a hyper-parameter or a string names; all, if none is
        named.
        """
        found = []
        for value in self.values:
            if (module := self.code.module(value)) is not None:
                found += [
                    (value, n)
                    for n in (*module.summary["defs"], *module.summary["imports"])
                    if n in self.words
                ]
        for package, stem in self.computed:
            names = [n for n in self.code.inside(package) if n.rpartition(".")[2].startswith(stem)]
            named = [n for n in names if n.rpartition(".")[2].removeprefix(stem) in self.words]
            found += [(n, "**") for n in named or names]
        for at in found:
            module = self.code.module(at[0])
            if at[1] != "**" and module is not None and at[1] not in module.summary["defs"]:
                self.todo += [
                    h for h in self._resolve(["g", at[1]], module, self.words) if h not in self.done
                ]
            elif at not in self.done:
                self.todo.append(at)
        return bool(self.todo)

    # ---------------------------------------------------------------------------------------------- resolving

    def _linked(self, definition: Definition, found: Module) -> Links:
        known = self.code.links.get(id(definition))
        if known is None:
            known = self.code.links[id(definition)] = Links()
            for ref in definition["refs"]:
                match ref:
                    case ["x", spec]:
                        known.runs += _run_by(spec, found)
                    case ["d", prefix]:
                        package, _, stem = prefix.rpartition(".") if prefix else (found.package, "", "")
                        known.computed.append((package, stem))
                    case ["o"]:
                        known.to.append((found.name, "**"))
                    case _:
                        known.to += self._resolve(ref, found, known.words)
                        known.others += self._of_others(ref, found)
        return known

    def _of_others(self, ref: Ref, found: Module) -> list[tuple[str, str]]:
        """A name that the module imports from another package, with a digest of its place there. (A name that
        a function imports is part of the function's digest.)
        """
        specs = found.summary["imports"].get(ref[1], ()) if ref[0] == "g" else ()
        theirs = [s for s in specs if _base(s, found).partition(".")[0] != "bench"]
        texts = [".".join(map(str, s[1:])) for s in theirs if not self._resolve(s, found, set())]
        return [(f"import {ref[1]}", hashlib.sha256(t.encode()).hexdigest()[:12]) for t in texts]

    def _resolve(self, ref: Ref, found: Module, words: set[str]) -> list[_At]:
        """The definitions that a reference leads to; attributes of these are added to ``words``."""
        match ref:
            case ["g", name, *chain]:
                summary = found.summary
                hits = [(found.name, name)] if name in summary["defs"] else []
                words.update(chain if hits else ())
                for spec in summary["imports"].get(name, ()):
                    hits += self._resolve([*spec, *chain], found, words)
                if not hits and name not in summary["imports"]:
                    hits += [(m, name) for star in summary["stars"] for m in _run_by(star, found)]
                return hits
            case ["m", name, *chain]:
                return self._attribute([*name.split("."), *chain], 1, words)
            case ["f", _, _, name, *chain]:
                base = _base(ref, found).split(".")
                return self._attribute([*base, name, *chain], len(base), words)
        return []

    def _attribute(self, chain: list[str], first: int, words: set[str]) -> list[_At]:
        """The module or the definition that ``a.b.c`` names. From ``first`` parts on, names that a module
        binds go before submodules of that name, as in Python.
        """
        for n in range(first, len(chain) + 1):
            module = self.code.module(".".join(chain[:n]))
            if module is None:
                continue
            if n == len(chain):
                return [(module.name, "*")]
            name, rest = chain[n], chain[n + 1 :]
            if name in module.summary["defs"]:
                words.update(rest)
                return [(module.name, name)]
            if name in module.summary["imports"]:
                specs = module.summary["imports"][name]
                return [hit for s in specs for hit in self._resolve([*s, *rest], module, words)]
            if self.code.module(".".join(chain[: n + 1])) is None:
                stars = [(m, name) for star in module.summary["stars"] for m in _run_by(star, module)]
                return stars or [(module.name, name)]
        return []


def _base(spec: Ref, found: Module) -> str:
    """The module that an import names."""
    if spec[0] == "m":
        return str(spec[1])
    _, level, name = spec[:3]
    if not level:
        return str(name)
    package = found.package.split(".")
    return ".".join((*package[: len(package) - level + 1], *filter(None, [name])))


def _run_by(spec: Ref, found: Module) -> list[str]:
    """Modules that an import runs."""
    base = _base(spec, found)
    return [base, *(f"{base}.{name}" for name in spec[3:4] if spec[0] == "f")]
