from __future__ import annotations

import dataclasses
import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.store import provenance
from bench.store.heads import Pool, dump, head_of, parse
from bench.store.provenance import (
    ast_digest,
    causes,
    commit,
    current_source,
    environment,
    loaded_sources,
    now,
    packages,
)

CODE = '''
"""About this file."""
from math import pi

def area(r, *, scale=1.0):
    """Of a circle."""
    # the usual formula
    return pi * r ** 2 * scale

class Shape:
    """One shape."""
    sides = 4
    """How many sides."""
'''


def digest_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / f"m{abs(hash(text))}.py"
    path.write_text(text)
    return ast_digest(path)


@pytest.mark.parametrize(
    "same",
    [
        CODE.replace("About this file.", "Other words."),
        CODE.replace('"""About this file."""', ""),
        CODE.replace("Of a circle.", ""),
        CODE.replace('    """Of a circle."""\n', ""),
        CODE.replace("    # the usual formula\n", "\n\n    # another\n"),
        CODE.replace("pi * r ** 2 * scale", "(pi*r**2)*scale  # why"),
        CODE.replace("r, *, scale=1.0", "\n    r,\n    *,\n    scale=1.0,\n"),
        CODE.replace('    """How many sides."""\n', ""),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(tmp_path, same):
    assert same != CODE
    assert digest_of(tmp_path, same) == digest_of(tmp_path, CODE)


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("** 2", "** 3"),
        CODE.replace("scale=1.0", "scale=1"),
        CODE.replace("*, scale", "scale"),
        CODE.replace("pi * r", "r * pi"),
        CODE.replace("from math import pi", "from numpy import pi"),
        CODE.replace("area", "surface"),
        CODE.replace("sides = 4", "sides = '4'"),
        CODE + "\nx = 1\n",
        CODE.replace("return pi * r ** 2 * scale", "pi * r ** 2 * scale"),
    ],
)
def test_code_counts(tmp_path, other):
    assert other != CODE
    assert digest_of(tmp_path, other) != digest_of(tmp_path, CODE)


def test_the_digest_is_the_same_in_every_python(tmp_path):
    """A number fixed once: another version of Python, or of this code, must not make every record stale."""
    assert digest_of(tmp_path, CODE) == "98d9e5752844"


def test_a_change_is_seen_and_a_file_that_does_not_parse_counts_as_text(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("x = 1\n")
    first = ast_digest(path)
    path.write_text("x = 22\n")
    assert ast_digest(path) != first
    path.write_text("x = (\n")
    broken = ast_digest(path)
    path.write_text("x = ((\n")
    assert ast_digest(path) != broken
    assert len(broken) == 12
    path.unlink()
    with pytest.raises(FileNotFoundError):
        ast_digest(path)


# --------------------------------------------------------------------------------------- sources of a process


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Modules laid out as in a clone: ``bench/tracks/demo`` and ``methods/`` beside ``bench/``."""
    code = {
        "bench/tracks/demo/__init__.py": '"""Only words."""\n\nfrom __future__ import annotations\n',
        "bench/tracks/demo/track.py": "size = 1\n",
        "bench/tracks/demo/unused.py": "size = 2\n",
        "bench/nn/demo_layer/__init__.py": "width = 3\n",
        "bench/engine/demo.py": "speed = 4\n",
        "methods/demo_method.py": "from bench.nn.demo_layer import width\n",
    }
    for name, text in code.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    import bench.methods

    import bench.engine
    import bench.nn
    import bench.tracks

    for package in ("bench.engine", "bench.nn", "bench.tracks"):
        home = str(tmp_path / package.replace(".", "/"))
        monkeypatch.setattr(sys.modules[package], "__path__", [*sys.modules[package].__path__, home])
    monkeypatch.setattr(bench.methods, "__path__", [*bench.methods.__path__, str(tmp_path / "methods")])
    monkeypatch.setattr(bench, "__path__", [*bench.__path__, str(tmp_path / "bench"), str(tmp_path)])
    before = set(sys.modules)
    for name in (
        "bench.tracks.demo.track",
        "bench.nn.demo_layer",
        "bench.engine.demo",
        "bench.methods.demo_method",
    ):
        importlib.import_module(name)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def demo(sources: dict[str, str]) -> set[str]:
    return {name for name in sources if "demo" in name}


def test_what_is_loaded_and_decides_a_number_is_a_source(house):
    found = loaded_sources({})
    assert demo(found) == {"bench.tracks.demo.track", "bench.nn.demo_layer", "bench.methods.demo_method"}
    assert all(len(d) == 12 for d in found.values())
    assert list(found) == sorted(found)
    assert not any(n.startswith(("bench.store", "bench.contract", "bench.engine")) for n in found)


def test_today_is_read_without_importing(house):
    found = loaded_sources({})
    assert {n: current_source(n, {}) for n in demo(found)} == {n: found[n] for n in demo(found)}
    assert current_source("bench.tracks.demo.unused", {}) is not None
    assert "bench.tracks.demo.unused" not in sys.modules
    assert current_source("bench.tracks.demo.gone", {}) is None
    assert current_source("no_such_package.x", {}) is None


def test_a_declared_module_counts_even_if_it_did_not_load(house):
    (house / "methods" / "demo_broken.py").write_text("def (\n")
    found = loaded_sources({}, declared=["bench.methods.demo_broken"])
    assert "bench.methods.demo_broken" in found
    (house / "methods" / "demo_broken.py").write_text("def f(): ...\n")
    assert current_source("bench.methods.demo_broken", {}) != found["bench.methods.demo_broken"]


def test_a_plugin_and_what_lies_beside_it_count(tmp_path, monkeypatch):
    home = tmp_path / "mine"
    home.mkdir()
    (home / "demo_plugin.py").write_text("import demo_helper\n")
    (home / "demo_helper.py").write_text("x = 1\n")
    (home / "demo_idle.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(home))
    extra = {"plugin:demo_plugin.py": home / "demo_plugin.py"}
    assert demo(loaded_sources(extra)) == {"plugin:demo_plugin.py"}
    monkeypatch.delitem(sys.modules, "demo_helper", raising=False)
    importlib.import_module("demo_plugin")
    found = loaded_sources(extra)
    assert demo(found) == {"plugin:demo_plugin.py", "plugin:demo_helper.py"}
    assert current_source("plugin:demo_helper.py", extra) == found["plugin:demo_helper.py"]
    assert current_source("plugin:../demo_helper.py", extra) == found["plugin:demo_helper.py"]
    assert current_source("plugin:demo_gone.py", extra) is None
    (home / "demo_plugin.py").unlink()
    assert current_source("plugin:demo_plugin.py", extra) is None


def test_the_package_of_an_entry_point_counts(tmp_path, monkeypatch):
    home = tmp_path / "demo_pack"
    (home / "inner").mkdir(parents=True)
    (home / "__init__.py").write_text("")
    (home / "inner" / "__init__.py").write_text("y = 2\n")
    (home / "rows.py").write_text("from demo_pack import inner\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("demo_pack.rows")
    found = loaded_sources({"demo_pack": home})
    assert demo(found) == {"demo_pack.rows", "demo_pack.inner"}
    for extra in ({"demo_pack": home}, {}):
        assert current_source("demo_pack.inner", extra) == found["demo_pack.inner"]
    assert demo(loaded_sources({}, declared=["demo_pack.rows"])) == demo(found)
    assert demo(loaded_sources({})) == set()


# ---------------------------------------------------------------------------------------------------- causes


@pytest.fixture
def head(house, record):
    sources = {n: d for n, d in loaded_sources({}).items() if "demo" in n}
    made = record(1, provenance={"sources": sources, "data": "d1", "stages": {"pretrain": "s1"}})
    return head_of(parse(dump(made)), Pool(), "records/x.json", 0, 1)


def why(head, *, data="d1", stages=None, extra=None):
    return causes(head, data=data, stages={"pretrain": "s1"} if stages is None else stages, extra=extra or {})


def test_a_fresh_record_has_no_cause(head):
    assert why(head) == []
    assert why(head, stages={}) == []


def test_each_cause_is_said_in_words(head, house):
    track = house / "bench/tracks/demo/track.py"
    then = head.sources["bench.tracks.demo.track"]
    assert why(head, data="d2") == ["data of flights-1x changed"]
    assert why(head, stages={"pretrain": "s2"}) == ["stage pretrain was built anew"]
    assert why(head, stages={"bank": "s2"}) == ["stage bank was not read then"]
    track.write_text("# only a comment\nsize = 1\n")
    assert why(head) == []
    track.write_text("size = 12\n")
    assert why(head) == [f"source bench.tracks.demo.track changed since {then[:4]}…"]
    track.unlink()
    assert why(head) == ["source bench.tracks.demo.track is gone"]
    track.write_text("size = 1\n")
    assert why(head) == []


def test_the_catalogue_of_data_sets_decides_nothing(head):
    """A data set that is added to it must not make the records of every other one stale."""
    import bench.data.catalog

    assert bench.data.catalog.__name__ not in loaded_sources({})
    older = dataclasses.replace(head, sources={**head.sources, "bench.data.catalog": "0" * 12})
    assert why(older) == []
    other = dataclasses.replace(head, sources={**head.sources, "bench.data.sheets": "0" * 12})
    assert why(other) == ["source bench.data.sheets changed since 0000…"]


def test_records_that_share_sources_are_compared_once(head, house, monkeypatch):
    looked = []
    monkeypatch.setattr(provenance, "ast_digest", lambda path: looked.append(path) or ast_digest(path))
    for _ in range(1000):
        assert why(head) == []
    assert len(looked) == len(head.sources)
    (house / "bench/tracks/demo/track.py").write_text("size = 12\n")
    assert len(why(head)) == 1


def test_while_still_files_are_looked_at_once_and_seen_again_afterwards(head, house, monkeypatch):
    assert why(head) == []
    track = house / "bench/tracks/demo/track.py"
    with provenance.still():
        assert why(head) == []
        with monkeypatch.context() as blind:
            blind.setattr(os, "stat", None)
            assert not any(why(head) for _ in range(1000))
    track.write_text("size = 12\n")
    assert len(why(head)) == 1


# ------------------------------------------------------------------------------------------------ environment


def test_the_environment_names_hardware_and_no_secret(monkeypatch):
    monkeypatch.setenv("VERY_SECRET_TOKEN", "hunter2-hunter2")
    found = environment()
    assert set(found) == {"host", "label", "cpus", "gpus", "threads", "os", "python"}
    assert found["host"] == platform.node()
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert f"× {found['cpus']}" in found["label"]
    assert found["python"] == platform.python_version()
    assert "hunter2" not in str([found, packages(), commit()])


def test_gpus_are_those_the_process_may_use(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text(
        "#!/bin/sh\necho '0, GPU-aaa, NVIDIA H100'\necho '1, GPU-bbb, NVIDIA H100'\n"
        "echo '2, GPU-ccc, NVIDIA L4'\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for visible, label in [
        (None, " + NVIDIA H100 × 2 + NVIDIA L4 × 1"),
        ("1", " + NVIDIA H100 × 1"),
        ("GPU-ccc,0", " + NVIDIA H100 × 1 + NVIDIA L4 × 1"),
        ("", ""),
    ]:
        provenance._gpus.cache_clear()
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert environment()["label"].partition(" + ")[1:] == (label[:3], label[3:])
    provenance._gpus.cache_clear()


def test_packages_and_commit():
    import numpy

    found = packages()
    assert found["numpy"] == numpy.__version__
    assert "gridbench" in found
    assert "no-such-package" not in found
    root = Path(bench.__file__).parents[1]
    here = commit()
    if (root / ".git").exists():
        said = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        assert here["commit"] == said.stdout.strip()
    assert isinstance(here["dirty"], bool)


def test_without_a_clone_the_commit_is_the_version(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    provenance._commit.cache_clear()
    assert commit() == {"commit": f"v{bench.__version__}", "dirty": False}
    provenance._commit.cache_clear()


def test_text_order_of_now_is_time_order():
    stamps = [now() for _ in range(50)]
    assert stamps == sorted(stamps)
    assert all(len(s) == 32 and s.endswith("+00:00") for s in stamps)
