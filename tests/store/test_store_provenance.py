from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import bench
from bench.contract import Stage
from bench.store import provenance
from bench.store.code.names import Closure
from bench.store.encoding import dump, parse
from bench.store.provenance import Dependencies, causes, commit, environment, now, packages, ran_with
from bench.store.summaries import StringTable, summary_of

THEN = Closure([("load", "a1"), ("Net", "b1")], [])
BUILT = Closure([("build", "a1")], [])
RAN = {"run": {"epochs": 3, "lr": 0.1}, "recipe": {"steps": 60}, "stages": {"pretrain": "address"}}


# ---------------------------------------------------------------------------------------------------- causes


@pytest.fixture
def head(record):
    made = {
        "code": THEN.name,
        "ran_with": RAN,
        "data": "d1",
        "stages": {"pretrain": "s1"},
        "built_by": {"pretrain": BUILT.name},
        "commit": "c" * 40,
    }
    return summary_of(parse(dump(record(1, provenance=made))), StringTable(), "records/x.json", 0, 1)


def why(head, *, code=THEN, ran=RAN, data="d1", stages=None, built_by=BUILT, kept=True):
    listing = {c.name: c.pairs for c in (THEN, BUILT)}.get if kept else (lambda name: None)
    found = {"pretrain": "s1"} if stages is None else stages
    by = {"pretrain": built_by}
    today = Dependencies(code=code, ran_with=ran, data=data, stages=found, built_by=by)
    return causes(head, today, listing)


def test_a_fresh_record_has_no_cause(head):
    assert why(head) == []
    assert why(head, stages={}) == [], "a stage that is not built today says nothing"
    assert why(head, data=None) == [], "nor do data that are not here"
    more = {**RAN, "run": {**RAN["run"], "warmup": 5}, "recipe": {**RAN["recipe"], "decay": 0.1}}
    assert why(head, ran=more) == [], "a setting that came later is not compared"


def test_each_cause_is_said_in_words(head):
    assert why(head, data="d2") == ["data of flights-1x changed"]
    assert why(head, stages={"pretrain": "s2"}) == ["stage pretrain was rebuilt"]
    assert why(head, stages={"bank": "s2"}) == ["stage bank was not read then"]
    today = Closure([("load", "a2"), ("Bigger", "c1")], [])
    assert why(head, code=today) == [
        f"{w} since ccccccc" for w in ("Bigger is new", "Net is gone", "load changed")
    ]
    assert why(head, code=today, kept=False) == [
        "its code changed since ccccccc; which definitions is not stored"
    ]
    older = replace(head, code="")
    assert why(older) == ["its code is not known: it was recorded by an older gridbench"]


def test_a_stage_is_held_to_its_files_and_where_these_are_not_here_to_its_code(head):
    other = Closure([("build", "a2")], [])
    assert why(head, built_by=other) == [], "other code that made the same files changes nothing"
    assert why(head, built_by=other, stages={}) == ["stage pretrain: build changed since ccccccc"]


def test_settings_are_compared_by_value(head):
    other = {"run": {**RAN["run"], "lr": 0.2}, "recipe": {"steps": 61}, "stages": {"pretrain": "other"}}
    assert why(head, ran=other) == [
        "run: lr was 0.1, is 0.2", "recipe: steps was 60, is 61", "stage pretrain is declared otherwise",
    ]  # fmt: skip


def test_what_a_cell_ran_with_is_plain():
    @dataclass(frozen=True)
    class Run:
        lr: float = 1 / 3
        sizes: tuple[int, ...] = (1, 2)

    track = SimpleNamespace(recipe=lambda task, run: {"hidden": (64, 32), "lr": run.lr})
    stage = Stage(name="bank", build=test_settings_are_compared_by_value, params={"n": 3})
    found = ran_with(track, None, Run(), [stage])
    assert found == {
        "run": {"lr": 1 / 3, "sizes": [1, 2]}, "recipe": {"hidden": [64, 32], "lr": 1 / 3},
        "stages": {"bank": stage.address},
    }  # fmt: skip


def test_the_address_of_a_stage_does_not_name_the_module_of_its_build(monkeypatch):
    def build(ctx):
        """Nothing."""

    before = Stage(name="bank", build=build).address
    monkeypatch.setattr(build, "__module__", "somewhere.else")
    assert Stage(name="bank", build=build).address == before
    monkeypatch.setattr(build, "__qualname__", "other")
    assert Stage(name="bank", build=build).address != before


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
