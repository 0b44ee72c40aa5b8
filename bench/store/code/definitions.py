"""Reads from the syntax tree of one Python file what it defines and what each definition names.

A definition is what a module binds at its top level: a function, a class, a constant. Its digest is that of
its syntax tree without comments, docstrings and formatting, and without what only plans or shows: ``@method``
of `bench.contract` (hyper-parameters are in a cell's key, limits in its record), and the ``doc``, ``digits``,
``unit`` and ``averaged`` of a ``Metric``. `bench.store.code.closure` follows the names from file to file.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

#: A reference. ``["g", name, *attributes]``: to a name of the module. ``["m", module, *attributes]``: to an
#: imported module. ``["f", level, module, name, *attributes]``: to a name imported from a module. ``["x",
#: import]``: an import, written as "m" or "f", which runs the statements of the other module. ``["d",
#: prefix]``: to a module whose name is computed, with the part that is constant. ``["o"]``: to computed names
#: of the module itself.
Ref = list[Any]
#: Names bound in a function or a class -> where each is imported from, empty for one that is defined there.
Scope = dict[str, list[Ref]]


class Definition(TypedDict):
    """A definition. ``digest``: 12 hex digits. ``refs``: its references. ``words``: attributes of expressions
    that are no reference (``self.word``, ``f(x).word``), and strings that may be names.
    """

    digest: str
    refs: list[Ref]
    words: list[str]


class Member(TypedDict):
    """A statement of a class's body with the names that it binds; decorators and bases have the name ``""``.
    ``field``: whether it is annotated and so may be a field of a dataclass.
    """

    names: list[str]
    field: bool
    of: Definition


class Summary(TypedDict):
    """What one file defines. ``defs``: name -> its definitions, several if it is bound more than once.
    ``classes``: the same for classes, member by member. ``statements``: what runs when the file is imported
    and does more than bind names. ``imports``: name -> where it comes from. ``stars``: modules of which all
    names are imported.
    """

    defs: dict[str, list[Definition]]
    classes: dict[str, list[Member]]
    statements: list[Definition]
    imports: dict[str, list[Ref]]
    stars: list[Ref]


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NAMED = (*_FUNCTIONS, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Arguments of a metric that only show it.
_SHOWS = frozenset({"doc", "digits", "unit", "averaged"})
#: Built-in functions that make it unknown which names code uses.
_OPAQUE = frozenset({"globals", "eval", "exec"})
_OURS = re.compile(r"(bench(?:\.\w+)+)(?::(\w+)[\w.]*)?")
# Whether a name is loaded or stored follows from its place; u"x" is "x"; a type comment is a comment.
_REDUNDANT = ("ctx", "kind", "type_comment")


def read(source: bytes) -> Summary:
    """What a file defines. A file that is not Python has one statement, its text, so that any edit changes
    it.
    """
    try:
        return _File(ast.parse(source)).summary
    except (SyntaxError, ValueError):
        text: Definition = {"digest": hashlib.sha256(source).hexdigest()[:12], "refs": [], "words": []}
        return {"defs": {}, "classes": {}, "statements": [text], "imports": {}, "stars": []}


def _digest(node: ast.AST) -> str:
    return hashlib.sha256("".join(_tokens(node)).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _tokens(node: ast.AST) -> Iterator[str]:
    """A syntax tree as text, without empty fields. The text of `ast.dump` changes from one version of Python
    to the next, which would make every record stale.
    """
    yield f"({type(node).__name__}"
    for name in node._fields:
        if name in _REDUNDANT:
            continue
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield f" {name}"
            yield from _tokens(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    yield f" {name}"
                    yield from _tokens(item)
                else:
                    yield f" {name}={item!r}"
        elif value is not None or isinstance(node, ast.Constant):
            yield f" {name}={value!r}"
    yield ")"


# --------------------------------------------------------------------------------------------------- a file


class _File:
    """Collects the `Summary` of one file."""

    def __init__(self, tree: ast.Module) -> None:
        self.summary: Summary = {"defs": {}, "classes": {}, "statements": [], "imports": {}, "stars": []}
        self._imports(tree.body)  # first: what a decorator means is known by them
        for node in _Stripped(self.summary["imports"]).visit(tree).body:
            self._define(node)

    def _imports(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names, stars = _imported(node)
                for name, spec in names.items():
                    self.summary["imports"].setdefault(name, []).append(spec)
                self.summary["stars"] += stars
            elif not isinstance(node, _NAMED):
                for block in _blocks(node):
                    self._imports(block)

    def _define(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
            return
        if isinstance(node, ast.If) and (_for_types(node.test) or _is_script(node.test)):
            for inner in node.orelse:
                self._define(inner)
            return
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return
        made, (names, only_binds) = _definition(node), _bound_by(node)
        for name in names:
            self.summary["defs"].setdefault(name, []).append(made)
        if isinstance(node, ast.ClassDef):
            self.summary["classes"].setdefault(node.name, []).extend(_members(node))
        if not only_binds:
            self.summary["statements"].append(made)


def _members(node: ast.ClassDef) -> list[Member]:
    parts = {k: v for k, v in ast.iter_fields(node) if k != "body"}
    found: list[Member] = [{"names": [""], "field": False, "of": _definition(ast.ClassDef(**parts, body=[]))}]
    inside = _scope(node.body)
    for item in node.body:
        if not isinstance(item, ast.Pass):
            names, of = sorted(_bound_by(item)[0]), _definition(item, inside)
            found.append({"names": names, "field": isinstance(item, ast.AnnAssign), "of": of})
    return found


def _definition(node: ast.AST, class_scope: Scope | None = None) -> Definition:
    refs = _Refs()
    refs.visit(node, (), class_scope)
    return {
        "digest": _digest(node),
        "refs": sorted(refs.found.values(), key=repr),
        "words": sorted(refs.words),
    }


class _Stripped(ast.NodeTransformer):
    """Removes strings that are statements, what only plans or shows, and the names of our modules in imports
    (the imported definitions are part of the code themselves).
    """

    def __init__(self, imports: Mapping[str, Sequence[Ref]]) -> None:
        self._imports = imports

    def _called(self, node: ast.AST) -> str:
        """``bench.contract.method`` for a call of it, by whatever name it was imported."""
        chain = _chain(node.func) if isinstance(node, ast.Call) else []
        if not chain:
            return ""
        specs = self._imports.get(chain[0], ())
        root = [chain[0]] if not specs else specs[0][1:] if specs[0][0] == "m" else specs[0][2:]
        return ".".join((*root, *chain[1:]))

    def _declares(self, node: ast.AST) -> bool:
        """Whether a call is ``method(…)``, or ``method(…)(function)``."""
        if not isinstance(node, ast.Call):
            return False
        return self._called(node) == "bench.contract.method" or self._declares(node.func)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text or self._declares(node.value) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if _is_ours(alias.name):
                alias.name, alias.of = "", alias.name  # type: ignore[attr-defined]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.level or _is_ours(node.module or ""):
            node.of = node.level, node.module  # type: ignore[attr-defined]
            node.level, node.module = 0, ""
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [d for d in node.decorator_list if not self._declares(d)]
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if self._called(node) == "bench.contract.Metric":
            node.keywords = [k for k in node.keywords if k.arg not in _SHOWS]
        return self.generic_visit(node)


# -------------------------------------------------------------------------------------------------- binding


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement that run as part of it, without those for type checkers only."""
    for name, value in ast.iter_fields(node):
        if name in ("handlers", "cases"):
            yield from (inner.body for inner in value)
        elif name == "body" and isinstance(node, ast.If) and _for_types(node.test):
            continue
        elif isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield value


def _for_types(test: ast.expr) -> bool:
    return _chain(test)[-1:] == ["TYPE_CHECKING"]


def _is_script(test: ast.expr) -> bool:
    """``__name__ == "__main__"``, which is never true in a module that a cell imports."""
    return isinstance(test, ast.Compare) and _chain(test.left) == ["__name__"]


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "bench"


def _chain(node: ast.AST) -> list[str]:
    """``a.b.c`` as ``[a, b, c]``; empty for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def _imported(node: ast.Import | ast.ImportFrom) -> tuple[dict[str, Ref], list[Ref]]:
    """Name -> where it comes from, and modules of which all names are imported."""
    if isinstance(node, ast.Import):
        full = [(getattr(a, "of", a.name), a.asname) for a in node.names]
        return {
            alias or n.partition(".")[0]: ["m", n if alias else n.partition(".")[0]] for n, alias in full
        }, []
    level, module = getattr(node, "of", (node.level, node.module))
    base = ["f", level, module or ""]
    names = {a.asname or a.name: [*base, a.name] for a in node.names if a.name != "*"}
    return names, [base for a in node.names if a.name == "*"]


def _bound_by(node: ast.stmt) -> tuple[set[str], bool]:
    """The names that a statement binds, and whether it does nothing else."""
    if isinstance(node, _NAMED):
        return {node.name}, True
    single = isinstance(node, ast.AnnAssign | ast.AugAssign)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if single else []  # type: ignore[attr-defined]
    plain = all(
        isinstance(x, ast.Name | ast.Tuple | ast.List | ast.Starred) for t in targets for x in _parts(t)
    )
    return set(_scope([node])), bool(targets) and plain


def _parts(target: ast.expr) -> Iterator[ast.expr]:
    """A target and the targets in it."""
    yield target
    for inner in [target.value] if isinstance(target, ast.Starred) else getattr(target, "elts", ()):
        yield from _parts(inner)


def _scope(body: Iterable[ast.AST]) -> Scope:
    """Names that code binds in its own scope, not in the functions, classes and comprehensions in it."""
    bound: Scope = {}
    elsewhere: set[str] = set()
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        names: Mapping[str, Ref | None] = {}
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names = {node.name: None}
            case ast.Import() | ast.ImportFrom():
                names = _imported(node)[0]
            case ast.Global() | ast.Nonlocal():
                elsewhere |= {*node.names}
            case ast.Name(ctx=ast.Store()):
                names = {node.id: None}
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                names = {name: None}
            case ast.MatchMapping(rest=str(name)):
                names = {name: None}
        for name, spec in names.items():
            bound.setdefault(name, []).extend([] if spec is None else [spec])
        if isinstance(node, _COMPREHENSIONS):  # its targets are not bound in this scope, but those of := are
            todo += [n for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
        elif not isinstance(node, (*_NAMED, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    return {name: specs for name, specs in bound.items() if name not in elsewhere}


# --------------------------------------------------------------------------------------------- what is named


class _Refs:
    """Collects the references of a piece of code to module-level names and imports, by Python's scoping
    rules.
    """

    def __init__(self) -> None:
        self.found: dict[str, Ref] = {}
        self.words: set[str] = set()

    def _add(self, ref: Ref) -> None:
        self.found[repr(ref)] = ref

    def visit(self, node: ast.AST, scopes: tuple[Scope, ...], in_class: Scope | None = None) -> None:
        """Collect the references of ``node``; ``in_class``: names of the class body that it is
        directly in.
        """
        match node:
            case ast.Attribute() | ast.Name():
                if chain := _chain(node):
                    self._named(chain, scopes, in_class)
                elif isinstance(node, ast.Attribute):
                    self.words.add(node.attr)
                    self.visit(node.value, scopes, in_class)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node, scopes, in_class)
            case ast.ClassDef():
                self._all([*node.decorator_list, *node.bases, *node.keywords], scopes, in_class)
                self._all(node.body, scopes, _scope(node.body))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self.visit(node.generators[0].iter, scopes, in_class)
                inner = _scope([g.target for g in node.generators])
                self._all(ast.iter_child_nodes(node), (*scopes, inner))
            case ast.AnnAssign():
                # The annotation of a field of a dataclass matters when the class is made; one in a function
                # never runs.
                parts = [node.target, node.value, node.annotation if in_class is not None else None]
                self._all([p for p in parts if p is not None], scopes, in_class)
            case ast.Import() | ast.ImportFrom():
                names, stars = _imported(node)
                for spec in (*names.values(), *stars):
                    self._add(["x", spec])
            case ast.Constant(value=str(text)):
                self._text(text)
            case _:
                if isinstance(node, ast.Call):
                    self._call(node)
                self._all(ast.iter_child_nodes(node), scopes, in_class)

    def _all(
        self, nodes: Iterable[ast.AST], scopes: tuple[Scope, ...], in_class: Scope | None = None
    ) -> None:
        for node in nodes:
            self.visit(node, scopes, in_class)

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scopes: tuple[Scope, ...],
        in_class: Scope | None,
    ) -> None:  # fmt: skip
        args = node.args
        outside = [*args.defaults, *(d for d in args.kw_defaults if d is not None)]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        outside += [] if isinstance(node, ast.Lambda) else node.decorator_list
        self._all(outside, scopes, in_class)
        taken = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        inner = _scope(body) | {a.arg: [] for a in taken if a is not None}
        self._all(body, (*scopes, inner))

    def _named(self, chain: list[str], scopes: tuple[Scope, ...], in_class: Scope | None) -> None:
        for scope in ((in_class,) if in_class else ()) + scopes[::-1]:
            if chain[0] in scope:
                for spec in scope[chain[0]]:
                    self._add([*spec, *chain[1:]])
                self.words |= {*([] if scope[chain[0]] else chain[1:])}
                return
        self._add(["g", *chain])

    def _call(self, node: ast.Call) -> None:
        name = _chain(node.func)[-1:]
        if name in (["import_module"], ["__import__"]):
            self._import(node.args[0] if node.args else None)
        elif isinstance(node.func, ast.Name) and (
            node.func.id in _OPAQUE or (node.func.id == "vars" and not node.args)
        ):
            self._add(["o"])

    def _import(self, name: ast.expr | None) -> None:
        """Collect an import of a module by a computed name."""
        first = name.values[0] if isinstance(name, ast.JoinedStr) and name.values else name
        first = first.left if isinstance(first, ast.BinOp) else first
        prefix = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
        self._add(["m", prefix] if first is name and prefix else ["d", prefix])

    def _text(self, text: str) -> None:
        """Collect a string that may be the name of a module of ours, or of one in a package that is imported
        by name.
        """
        if match := _OURS.fullmatch(text):
            self._add(["f", 0, match[1], match[2]] if match[2] else ["m", match[1]])
        elif text.isidentifier() and len(text) <= 60:
            self.words.add(text)
