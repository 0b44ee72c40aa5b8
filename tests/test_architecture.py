"""The floors of the house: imports go down, a track knows no other, methods are imported by nobody."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Module prefix -> what it may import of ours besides itself; the longest prefix that fits counts.
MAY = {
    "bench.errors": set(),
    "bench.handed": set(),
    "bench.cache": set(),
    "bench.file_digest": {"cache"},
    "bench.packages": {"errors"},
    "bench.contract": {"errors", "handed"},
    "bench.nn": {"contract", "errors", "packages"},
    "bench.data": {"contract", "errors", "file_digest", "packages"},
    "bench.tracks": {"contract", "errors", "nn", "data", "file_digest", "packages"},
    "bench.stats": {"contract", "errors"},
    "bench.registry": {"contract", "errors"},
    "bench.store": {"contract", "errors", "cache", "file_digest"},
    "bench.suite": {"contract", "errors", "registry"},
    "bench.planned": {"contract", "errors", "registry", "suite", "store"},
    "bench.marking": {"contract", "errors", "registry", "store", "planned"},
    "bench.estimate": {"contract", "errors", "store", "planned"},
    "bench.plan": {"contract", "errors", "registry", "suite", "store", "planned", "marking", "estimate"},
    "bench.engine": {"contract", "errors", "registry", "suite", "store", "plan", "planned"},
    "bench.board": {"contract", "errors", "suite", "store", "plan", "planned", "stats"},
    "bench.frame": {"contract", "errors", "store", "plan", "planned"},
    "bench.check": {"contract", "errors", "registry", "suite", "store", "plan", "planned", "engine"},
    "bench.notebook": {"contract", "errors", "registry", "suite", "store", "plan", "planned", "engine"},
    "bench.cli": {
        "contract",
        "errors",
        "registry",
        "suite",
        "store",
        "plan",
        "planned",
        "estimate",
        "engine",
        "board",
        "stats",
        "check",
        "data",
        "frame",
    },
    "bench.methods": {"contract", "errors", "tracks", "nn", "data"},
    "bench.baselines": {"contract", "errors", "tracks", "nn", "data"},
}
#: Below Ray: a bare GPU machine runs cells with these.
WITHOUT_RAY = [f for f in (ROOT / "bench").rglob("*.py") if f.name != "tune.py"]


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "bench" else ("bench", *parts))


def imported(file: Path) -> set[str]:
    """Modules that a file imports anywhere, also inside functions and for types only."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return found


FILES = [f for top in ("bench", "methods", "baselines") for f in sorted((ROOT / top).rglob("*.py"))]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_down(file):
    name = name_of(file)
    floor = next((p for p in MAY if name == p or name.startswith(p + ".")), None)
    if floor is None:
        assert name == "bench.__init__", f"{name} stands on no floor: add it to MAY, and to the design"
        return
    for module in imported(file):
        parts = module.split(".")
        if (
            parts[0] == "bench"
            and len(parts) > 1
            and (ROOT / "bench" / parts[1]).with_suffix("").name in FLOORS
        ):
            assert parts[1] in MAY[floor] | {floor.split(".")[1]}, f"{name} imports {module}"
        assert parts[0] not in ("methods", "baselines"), f"{name} imports {module}: the registry finds those"
        if name.startswith("bench.tracks.") and module.startswith("bench.tracks."):
            assert parts[2] in (name.split(".")[2], "common"), f"{name} imports another track, {module}"


FLOORS = {p.split(".")[1] for p in MAY}


@pytest.mark.parametrize("file", WITHOUT_RAY, ids=name_of)
def test_only_one_file_needs_ray(file):
    names = {m.partition(".")[0] for m in imported(file)}
    assert "ray" not in names


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
