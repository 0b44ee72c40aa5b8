"""What the tests of registry, plan, engine and command line share: stubs, suites, stores, the command."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from bench.contract import Record
from bench.engine.execute import execute
from bench.engine.forkserver import ForkServer
from bench.engine.sweep import Sweep
from bench.plan import Filter, Plan, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "tests" / "stubs"
#: What the stubs, and the real track that tests run cells of (embedding_scale), want preloaded.
PRELOADED = ("torch", "xarray", "pandas", "sklearn.metrics", "torch_rechub.basic.layers")


# Plugins are edited within one second here, which cached bytecode would not notice.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

# Tiny networks gain nothing from threads, and threads that wait for each other on a busy machine made some
# tests thirty times as slow. Set before anybody imports numpy or torch.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

# A shell that starts a command in the background has it ignore interrupts, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests draw the same examples in every run, so that none can fail by chance or for being slow. After
# a change of what one is about: `pytest --hypothesis-profile=thorough FILE` draws many more, and other ones.
settings.register_profile(
    "same", max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile("thorough", settings.get_profile("same"), max_examples=400, derandomize=False)
settings.load_profile("same")

# Ray starts its workers at nice 15: beside two busy processes on two processors these stood for minutes.
os.environ.update({"RAY_worker_niceness": "0"})


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked ``gpu`` where there is none."""
    if item.get_closest_marker("gpu") and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no CUDA device")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of Ray first: one of them runs at a time, so that the end would wait for what is left of them."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Of the processes that run tests only one at a time starts Ray, whose own processes take a machine.

    Around everything else, so that waiting for its turn does not count against the time limit of a test.
    """
    run = getattr(item.config, "workerinput", {}).get("testrunuid")
    if run is None or not item.get_closest_marker("ray"):
        return (yield)
    with FileLock(Path(tempfile.gettempdir()) / f"gridbench-ray-{run}.lock"):
        return (yield)


@dataclass
class Sandbox:
    """A suite, plugins and a store in a temporary folder; opened anew on each use, as a command would."""

    folder: Path
    plugins: list[str] = field(default_factory=list)

    @property
    def suite(self) -> Path:
        return self.folder / "suite.yaml"

    @property
    def store_folder(self) -> Path:
        return self.folder / "store"

    def write(self, values: dict[str, Any] | str) -> Path:
        """Write the suite (JSON is YAML)."""
        self.suite.write_text(values if isinstance(values, str) else json.dumps(values, indent=1))
        return self.suite

    def of(self, track: str, *, seeds: int = 1, ranks_by: str = "value", **profile: Any) -> Path:
        """A suite of one track with the profile ``laptop``."""
        mine = {"ranks_by": ranks_by, "laptop": profile}
        return self.write({"profiles": {"laptop": {"seeds": seeds}}, "tracks": {track: mine}})

    def copy(self, name: str, **changes: str) -> Path:
        """A copy of a stub that the test may edit, used as the plugin."""
        text = (STUBS / f"{name}.py").read_text()
        path = self.folder / f"{name}.py"
        path.write_text(text)
        self.plugins.append(str(path))
        return path

    def use(self, *names: str) -> Sandbox:
        self.plugins += [str(STUBS / f"{n}.py") for n in names]
        return self

    def store(self) -> Store:
        return Store.open(self.store_folder)

    def registry(self) -> Registry:
        for name in [n for n in sys.modules if n.startswith("bench_plugin_")]:
            del sys.modules[name]  # a plugin is read once a process; here it may have been edited
        return Registry(plugins=self.plugins)

    def plan(self, *rows: str, k: str = "", tracks: Sequence[str] = (), profile: str = "laptop") -> Plan:
        wanted = Filter(rows, k)
        names = tracks or list(Suite.read(self.suite).tracks)
        return make_plan(
            Suite.read(self.suite), self.registry(), self.store(), profile, tracks=names, wanted=wanted
        )

    def run(self, *rows: str, k: str = "", tracks: Sequence[str] = (), **how: Any) -> Sweep:
        """Run what is missing and give back the sweep."""
        plan = self.plan(*rows, k=k, tracks=tracks)
        return execute(plan, self.registry(), self.store(), **{"local": True, **how})

    def records(self) -> list[Record]:
        """All records that count."""
        store = self.store()
        return [r for key in store.summaries() if (r := store.read(key)) is not None]

    def by_row(self) -> dict[str, Record]:
        """Row (of a stage: ``stage:name``) -> its record; for suites of one task and one seed."""
        return {r.cell.get("row") or f"stage:{r.cell['stage']}": r for r in self.records()}

    def states(self, **how: Any) -> dict[str, str]:
        """Row -> state, for suites of one task and one seed."""
        return {c.row: c.state for c in self.plan(**how).cells}

    def arguments(self, *words: str, store: bool = True, suite: bool = True) -> list[str]:
        """A command line of bench on this sandbox; some commands take no store, or no suite."""
        named = [*(["--suite", str(self.suite)] if suite else [])]
        named += [x for p in self.plugins for x in ("--plugin", p)]
        return [*words, *named, *(["--store", str(self.store_folder)] if store else [])]

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        """The command line in a process and a process group of its own, as a terminal would start it."""
        line = [sys.executable, "-m", "bench.cli", *self.arguments(*words)]
        return subprocess.Popen(
            line, cwd=self.folder, env={**os.environ, "COLUMNS": "200"}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how,
        )  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def make_sandbox() -> type[Sandbox]:
    """Makes sandboxes in folders of the test's choice, also for fixtures that several tests share.

    All sandboxes of a process share one fork server. It is given here what any stub wants preloaded, or each
    track that wants something else would start another one (torch again: four seconds).
    """
    ForkServer(PRELOADED)
    return Sandbox


@pytest.fixture
def sandbox(make_sandbox: type[Sandbox], tmp_path: Path) -> Sandbox:
    """An empty sandbox."""
    return make_sandbox(tmp_path)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command ``bench`` in this process: exit code, stdout, stderr. A traceback is the test's failure."""
    from bench import cli
    from bench.cli import console

    monkeypatch.setattr(console.console, "width", 200)
    monkeypatch.setattr(console.errors, "width", 200)

    def call(*words: str) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1 if e.code else 0
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Lays a file into a folder of ours (``methods``, ``baselines/<track>``), as a contributor would, without
    touching the clone: ``bench`` and the folder's package are searched in a temporary tree as well.
    """
    import bench as package

    root, laid = tmp_path / "tree", set[str]()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(root)])

    def lay(file: str, text: str) -> Path:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        name = ".".join(("bench", *path.parent.relative_to(root).parts))
        folder = importlib.import_module(name)
        if str(path.parent) not in folder.__path__:
            monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(path.parent)])
        importlib.invalidate_caches()
        laid.add(f"{name}.{path.stem}")
        return path

    yield lay
    for name in laid:
        sys.modules.pop(name, None)
