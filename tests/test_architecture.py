"""The layers of the code: imports go down, no track imports another, and nothing imports the methods."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Module prefix -> what it may import of ours besides its own package; the first prefix that fits counts.
MAY = {
    "bench.errors": set(),
    "bench.protocols": set(),
    "bench.claims": set(),
    "bench.declared": {"errors"},
    "bench.cache": set(),
    "bench.file_digest": {"cache"},
    "bench.packages": {"errors"},
    "bench.contract": {"claims", "declared", "errors", "protocols"},
    "bench.declarations": {"contract", "declared", "errors"},
    "bench.nn": {"contract", "errors", "packages"},
    "bench.data": {"contract", "errors", "file_digest", "packages"},
    "bench.tracks": {"contract", "declared", "errors", "nn", "data", "file_digest", "packages"},
    "bench.stats": {"contract", "errors"},
    "bench.registry": {"contract", "errors"},
    "bench.store": {"contract", "errors", "cache", "file_digest"},
    "bench.suite": {"contract", "declared", "errors", "declarations", "registry"},
    "bench.plan": {"contract", "errors", "declarations", "registry", "suite", "store"},
    # The process of a cell and what runs it know nothing of plans.
    **{
        f"bench.engine.{name}": {"contract", "errors", "declarations", "registry", "store", "cache"}
        for name in (
            "job",
            "child",
            "context",
            "forkserver",
            "worker",
            "leases",
            "sweep",
            "local",
            "tune",
            "cluster",
        )
    },
    "bench.engine": {"contract", "errors", "declarations", "registry", "store", "plan"},
    "bench.cluster": {"contract", "errors", "packages", "plan"},
    "bench.live": {"contract", "errors", "store", "plan", "engine"},
    "bench.search": {"contract", "errors", "declarations", "registry", "store", "plan"},
    "bench.board": {"contract", "errors", "registry", "suite", "store", "plan", "stats"},
    "bench.check": {"contract", "errors", "registry", "suite", "store", "plan", "engine"},
    "bench.notebook": {"contract", "errors", "registry", "suite", "store", "plan", "engine"},
    "bench.cli": {
        "contract",
        "errors",
        "registry",
        "suite",
        "declarations",
        "store",
        "plan",
        "engine",
        "cluster",
        "live",
        "search",
        "board",
        "stats",
        "check",
        "data",
    },
    "bench.methods": {"contract", "errors", "tracks", "nn", "data"},
    "bench.baselines": {"contract", "errors", "tracks", "nn", "data"},
}


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "bench" else ("bench", *parts))


#: Below Ray: a bare GPU machine runs cells with these. What else uses Ray is the client of its job server.
WITH_RAY = {
    "bench.cluster.jobs", "bench.engine.tune", "bench.engine.cluster.actor", "bench.engine.cluster.asking",
    "bench.engine.cluster.feed",
}  # fmt: skip
WITHOUT_RAY = [f for f in sorted((ROOT / "bench").rglob("*.py")) if name_of(f) not in WITH_RAY]


def imported(file: Path) -> set[str]:
    """Modules that a file imports anywhere, also inside functions and for types only."""
    return {name for node in ast.walk(ast.parse(file.read_text())) for name in names_in(node)}


def names_in(node: ast.AST) -> set[str]:
    """The modules that an import statement names; for ``from a import b`` both ``a`` and ``a.b``."""
    if isinstance(node, ast.Import):
        return {a.name for a in node.names}
    if isinstance(node, ast.ImportFrom):
        # The tests here compare absolute names, so a relative import would pass them unseen.
        assert node.level == 0, f"line {node.lineno}: a relative import; name the module in full"
        return {str(node.module)} | {f"{node.module}.{a.name}" for a in node.names}
    return set()


FILES = [f for top in ("bench", "methods", "baselines") for f in sorted((ROOT / top).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_down(file):
    name = name_of(file)
    floor = next((p for p in MAY if name == p or name.startswith(p + ".")), None)
    if floor is None:
        assert name == "bench.__init__", f"{name} has no entry in MAY: add one, and a line in CONTRIBUTING.md"
        return
    for module in imported(file):
        parts = module.split(".")
        if parts[0] == "bench" and len(parts) > 1 and parts[1] in FLOORS:
            assert parts[1] in MAY[floor] | {floor.split(".")[1]}, f"{name} imports {module}"
        assert parts[0] not in ("methods", "baselines"), f"{name} imports {module}: the registry finds those"
        if name.startswith("bench.tracks.") and module.startswith("bench.tracks."):
            assert parts[2] in (name.split(".")[2], "common"), f"{name} imports another track, {module}"


FLOORS = {p.split(".")[1] for p in MAY}


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a file, inside functions too, but for what only a type checker imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (n for other in node.orelse for n in ast.walk(other))
        else:
            yield node
            yield from statements(node)


def graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Each module with the modules among ``files`` that it imports, at its top or inside a function.

    The package ``bench`` itself is left out: it is below all others, and offers a few names of the upper
    floors (`bench.try_method`) that it imports when somebody asks for them.
    """
    found: dict[str, set[str]] = {}
    for name, file in files.items():
        found[name] = set()
        for node in statements(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                of = names_in(node) - {node.module}
                found[name] |= (of & files.keys()) | ({node.module} if of - files.keys() else set())
            else:
                found[name] |= names_in(node)
        found[name] &= files.keys() - {name, "bench"}
    return found


def circle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """The modules of one circle of imports, in order; none if there is no circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_module_imports_one_that_imports_it():
    modules = {name_of(f).removesuffix(".__init__"): f for f in FILES}
    assert not (found := circle(graph(modules))), " imported by ".join(found)


def test_a_circle_is_found_inside_functions_and_not_among_types(tmp_path):
    texts = {
        "a": "from pkg import b\n",
        "b": "def f():\n    from pkg.c import thing\n",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pkg.a\nelse:\n    import os\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    modules = {f"pkg.{name}": tmp_path / f"{name}.py" for name in texts}
    assert graph(modules) == {"pkg.a": {"pkg.b"}, "pkg.b": {"pkg.c"}, "pkg.c": set()}
    assert circle(graph(modules)) == []
    (tmp_path / "c.py").write_text("class C:\n    def f(self):\n        import pkg.a\n")
    assert set(circle(graph(modules))) == set(modules)


@pytest.mark.parametrize("file", WITHOUT_RAY, ids=name_of)
def test_only_what_drives_a_cluster_needs_ray(file):
    names = {m.partition(".")[0] for m in imported(file)}
    assert "ray" not in names


#: What computes a board; what shows it stands above and is found by the board's registry.
SHOWS = ("bench.board.text", "bench.board.page", "bench.board.plots", "bench.board.tables")


def test_a_board_is_computed_without_what_shows_it():
    for file in (ROOT / "bench" / "board").glob("*.py"):
        shown = {m for m in imported(file) if m.startswith(SHOWS)}
        assert not shown, f"{file} imports {shown}"


def test_a_folder_holds_at_most_twelve_files():
    folders = {f.parent for f in FILES if f.name != "__init__.py"}
    many = {
        folder.relative_to(ROOT).as_posix(): len([f for f in folder.glob("*.py") if f.name != "__init__.py"])
        for folder in folders
    }
    assert {folder: n for folder, n in many.items() if n > 12} == {}


def test_only_the_command_line_prints():
    for file in FILES:
        calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
        prints = [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
        assert not prints or name_of(file).startswith("bench.cli"), f"{file}:{prints[0].lineno} prints"


def test_files_and_functions_stay_small():
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 520, (
            f"{file} has {text.count(chr(10))} lines: the design is asking for something"
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                length = node.end_lineno - node.lineno + 1
                assert length <= 70, f"{file}:{node.lineno}: {node.name} has {length} lines"
