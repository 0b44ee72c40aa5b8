"""What a track gives to a method and asks of it, read from the declarations of the track's own code.

Nothing is written down twice: the texts are the docstrings of the track and of the class that `Track.load`
is annotated to return, the values are those of the track's settings.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

from bench.cli.console import escape
from bench.contract import Context, Stage, Task, Track
from bench.registry import Found, Registry
from bench.suite import Suite

#: How far classes of ours are followed from the class that a method is given.
DEPTH = 2


def describe(registry: Registry, name: str, suite: Suite) -> Iterator[str]:
    """Paragraphs for rich: what a method is given and answers, settings, stages, metrics, a file to copy."""
    track = registry.track(name)
    run = track.Run()
    task = track.tasks(track.smoke()[0])[0]
    rows = registry.rows(name)
    yield f"[bold]{escape(name)}[/]: {escape(track.title)}"
    yield _indented(_doc(type(track)) or "The class of the track has no docstring.")
    yield _head("What a method is", "fn(data, hp, ctx) -> answer, declared by @bench.contract.method")
    yield from _given(track)
    yield _head("ctx", f"Context ({_place(Context)}) with {', '.join(_members(Context))}")
    yield _head("ctx.run", "the run settings, which bench.yaml changes under `run`")
    yield _text(_doc(track.Run), _settings(track.Run))
    recipe = [f"{key} = {value!r}" for key, value in track.recipe(task, run).items()]
    if recipe:
        yield _head("Recipe", f"what the track resolves these settings to, here for the task {task.name}")
        yield _indented("\n".join(recipe))
    yield from _stages(track, task, run, rows)
    yield _head("Metrics", "computed by the track from the answer")
    spec = suite.tracks.get(name)
    yield _indented("\n".join(_metrics(track, spec.ranks_by if spec else "")))
    yield from _files(track, rows)


# ---------------------------------------------------------------------------------------------- what is given


def given_classes(track: Track) -> list[type]:
    """The classes that a track's `load` is annotated to return; none if it does not say."""
    return list(_classes(_hints(type(track).load).get("return")))


def _given(track: Track) -> Iterator[str]:
    classes = given_classes(track)
    if not classes:
        yield _head("data", "what Track.load of this track returns; it does not declare the class")
        return
    seen: set[type] = set()
    todo = [(cls, 0) for cls in classes]
    while todo:
        cls, depth = todo.pop(0)
        if cls in seen:
            continue
        seen.add(cls)
        yield _head("data" if depth == 0 else "", f"{cls.__name__} ({_place(cls)})")
        yield _text("\n\n".join(filter(None, map(_doc, _lineage(cls)))), _contents(cls))
        if depth < DEPTH:
            hints = [hint for base in _lineage(cls) for hint in _hints(base).values()]
            todo += [(c, depth + 1) for hint in hints for c in _classes(hint)]


def _contents(cls: type) -> Iterator[str]:
    """The fields of a dataclass, and the properties and methods that a class makes public, each a line."""
    if is_dataclass(cls):
        for f in fields(cls):
            yield f"{f.name}: {f.type if isinstance(f.type, str) else getattr(f.type, '__name__', f.type)}"
    members = {name: m for base in reversed(_lineage(cls)) for name, m in vars(base).items()}
    for name, member in members.items():
        if name.startswith("_") or isinstance(member, type):
            continue
        if isinstance(member, property):
            yield f"{name}: {_first_sentence(member)}"
        elif inspect.isfunction(member):
            yield f"{name}{_signature(member)}: {_first_sentence(member)}"


def _lineage(cls: type) -> list[type]:
    """A class and those of its bases that are ours, from which it has fields and a part of its docstring."""
    return [base for base in cls.__mro__ if _is_ours(base)]


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith(("bench.", "bench_plugin_"))


def _signature(function: Any) -> str:
    """The parameters of a method of a class by their names, without what it is called on."""
    names = [p for p in inspect.signature(function).parameters if p != "self"]
    return f"({', '.join(names)})"


def _classes(hint: Any) -> Iterator[type]:
    """The classes of ours in a type, in order: those of a union, of a container, of a callable's result."""
    if isinstance(hint, type) and _is_ours(hint):
        yield hint
    for part in get_args(hint):
        for inner in part if isinstance(part, list) else [part]:
            yield from _classes(inner)


def _hints(of: Any) -> dict[str, Any]:
    """The annotations of a function or a class, also with names that are imported for type checking alone."""
    module = sys.modules[of.__module__]
    names = {**vars(module), **_imported_for_types(module)}
    annotations = inspect.get_annotations(of)
    carrier = type("carrier", (), {"__annotations__": annotations, "__module__": of.__module__})
    return get_type_hints(carrier, localns=names)


def _imported_for_types(module: ModuleType) -> Mapping[str, Any]:
    """What a module imports under ``if TYPE_CHECKING``: the names in its annotations, which it never runs."""
    found: dict[str, Any] = {}
    for block in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(block, ast.If) or "TYPE_CHECKING" not in ast.unparse(block.test):
            continue
        for node in block.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                source = importlib.import_module(node.module)
                found |= {a.asname or a.name: getattr(source, a.name) for a in node.names}
            elif isinstance(node, ast.Import):
                found |= {
                    a.asname or a.name.partition(".")[0]: importlib.import_module(
                        a.name if a.asname else a.name.partition(".")[0]
                    )
                    for a in node.names
                }
    return found


def _members(cls: type) -> list[str]:
    """The public attributes and methods of a protocol."""
    return [n for n in (*cls.__annotations__, *vars(cls)) if not n.startswith("_")]


# ---------------------------------------------------------------------------------- settings, stages, metrics


def _settings(cls: Any) -> Iterator[str]:
    for f in fields(cls):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        yield f"{f.name}: {f.type} = {default!r}"


def _stages(track: Track, task: Task, run: Any, rows: Mapping[str, Found]) -> Iterator[str]:
    """The stages that every method may read, and those that methods of the track declare, by how they do."""
    ours = {s.name: s for s in _all(track.stages(task, run))}
    if ours:
        yield _head("Stages of every row", "ctx.stage(name) is the folder of each")
        yield _indented("\n".join(f"{s.name}: {_first_sentence(s.build)}" for s in ours.values()))
    declared: dict[str, tuple[list[Stage], list[str]]] = {}
    for found in rows.values():
        if stages := list(found.method.stages_of(task, run)):
            by = declared.setdefault(_how_declared(found), (stages, []))[1]
            by += [found.method.id] if found.method.id not in by else []
    if declared:
        yield _head("Stages that a method may declare", "built once for all rows that declare them")
        lines = []
        for how, (stages, methods) in declared.items():
            lines.append(f"@method(…, stages={how}), as in {', '.join(methods)}; then ctx.stage(name) of")
            lines += [f"    {s.name}: {_first_sentence(s.build)}" for s in stages]
        yield _indented("\n".join(lines))


def _all(stages: Iterable[Stage]) -> Iterator[Stage]:
    for s in stages:
        yield from _all(s.stages)
        yield s


def _how_declared(found: Found) -> str:
    """The stages of a method as it declares them: a function of (task, run), or one by one."""
    how = found.method.stages
    if callable(how):
        return f"{getattr(how, '__module__', '')}.{getattr(how, '__qualname__', how)}"
    return f"({', '.join(s.name for s in how)})"


def _metrics(track: Track, ranks_by: str) -> Iterator[str]:
    for m in track.metrics:
        words = [m.kind, f"{m.better} is better" if m.better != "neither" else "", m.unit]
        ranks = ", ranks" if m.name == ranks_by else ""
        yield f"{m.name} ({', '.join(filter(None, words))}{ranks}){f': {m.doc}' if m.doc else ''}"


# -------------------------------------------------------------------------------------------- which file next


def _files(track: Track, rows: Mapping[str, Found]) -> Iterator[str]:
    lines = []
    for role, what in (("method", "the paper's method, the pattern to copy"), ("baseline", "a baseline")):
        chosen = [row for row, f in rows.items() if f.role == role]
        if chosen:
            row = track.reference if track.reference in chosen else chosen[0]
            lines.append(f"{_place(rows[row].method.fn)}: {rows[row].method.name}, {what}")
    yield _head("Files to read", "")
    yield _indented("\n".join(lines) or "no method of the track is installed")
    yield _head("Then", f"bench check FILE; bench run --plugin FILE -t {track.name} -m ROW -p smoke")


# --------------------------------------------------------------------------------------------------- in words


def _head(title: str, text: str) -> str:
    words = [f"[bold]{escape(title)}[/]"] if title else []
    return "\n" + ": ".join([*words, *([escape(text)] if text else [])])


def _text(doc: str, lines: Iterable[str]) -> str:
    """A docstring and, in a paragraph of their own, lines."""
    return _indented("\n\n".join(filter(None, (doc, "\n".join(lines)))))


def _indented(text: str) -> str:
    return "\n".join(f"    {escape(line)}" if line else "" for line in text.splitlines())


def _doc(thing: Any) -> str:
    """The docstring of the thing itself, not one that it inherits or that `dataclass` has made."""
    text = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    made = isinstance(thing, type) and (text or "").startswith(f"{thing.__name__}(")
    return inspect.cleandoc(text) if text and not made else ""


def _first_sentence(thing: Any) -> str:
    paragraph = " ".join(_doc(thing).split("\n\n")[0].split())
    return paragraph or "(no docstring)"


def _place(thing: Any) -> str:
    """``file:line`` of a class or a function, the file from the clone on."""
    path, line = Path(inspect.getfile(thing)), inspect.getsourcelines(thing)[1]
    root = Path(__file__).resolve().parents[3]
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{shown}:{line}"
