"""What a node must have before it gets a cell: each cause with what helps; without a Ray."""

import shutil
import sys
from dataclasses import replace

import pytest
from fsspec.registry import _registry as opened_before

from bench.engine import worker
from bench.engine.cluster.rollcall import Answer, Question, answer, of_error, question, token_of, verdict
from bench.engine.execute import units
from bench.store.files import open_files

ASKED = Question(
    python="3.11.9", ray="2.60.0", packages={"torch": "2.9.0+cpu", "numpy": "2.1.0"}, code="c",
    files={"/p/mine.py": "f"}, store="/shared/store", token="t", data=[],
)  # fmt: skip
SAID = Answer(
    host="n1", python="3.11.2", ray="2.60.0", packages={"torch": "2.9.0+cu128", "numpy": "2.1.0", "x": "1"},
    code="c", files={"/p/mine.py": "f"}, clock=1000.0, room_gb={"/tmp": 5.0},
)  # fmt: skip


def judged(token_seen=True, **other):
    return verdict(ASKED, replace(SAID, **other), 999.0, 1001.0, token_seen)


def test_a_node_that_has_what_the_driver_has_may_run_cells():
    found = judged()
    assert (found.fault, found.notes) == ("", ()), "another build of the same release is the same"


@pytest.mark.parametrize(
    ("other", "cause", "mend"),
    [
        ({"python": "3.12.1"}, "Python 3.12.1, the driver has 3.11.9", "bench launch"),
        ({"ray": "2.59.0"}, "Ray 2.59.0, the driver has 2.60.0", "install what the driver has"),
        (
            {"packages": {"numpy": "1.9"}},
            "torch missing (here 2.9.0), numpy 1.9 (here 2.1.0)",
            "bench launch",
        ),
        ({"code": "d"}, "its gridbench has other code", "bench launch"),
        ({"files": {}}, "plugin /p/mine.py is not there", "a folder that all nodes share"),
        ({"files": {"/p/mine.py": "g"}}, "plugin /p/mine.py has other content", "bench launch"),
        ({"store": "cannot write it: read-only"}, "store /shared/store: cannot write it", "--store"),
        ({"token_seen": False}, "the driver does not see what this node writes", "s3://bucket/prefix"),
        ({"missing": {"a": "no file", "b": "no"}}, "no data for a: no file (2 tasks", "bench data prepare"),
        ({"room_gb": {"/tmp": 0.2}}, "0.20 GB are free in /tmp", "TMPDIR"),
        ({"clock": 1030.0}, "its clock is 29 s off", "chrony"),
        ({"clock": 970.0}, "its clock is 29 s off", "chrony"),
    ],
)
def test_what_would_end_badly_is_left_out_with_its_cause_and_what_helps(other, cause, mend):
    fault = judged(**other).fault
    assert cause in fault
    assert mend in fault
    assert "\n" not in fault


def test_a_clock_that_is_a_little_off_is_told():
    found = judged(clock=1009.0)
    assert found.fault == ""
    assert found.notes == ("the clock of node n1 is 8 s off",)
    assert judged(clock=1004.0).notes == ()


def test_a_node_without_the_package_is_told_as_that():
    assert "gridbench is not installed" in of_error(
        RuntimeError("ModuleNotFoundError: No module named 'bench'")
    )
    assert "it cannot answer: worker died" in of_error(RuntimeError("worker\ndied"))


@pytest.fixture
def asked(sandbox):
    """A question on a sweep of a plugin, whose token lies in the store."""
    path = sandbox.copy("slow")
    sandbox.of("slow", grid={"cells": 2}, run={"seconds": 0.0, "log": "log"})
    plan = sandbox.plan("sleeps")
    todo, _ = units(plan, plan.to_run(), sandbox.registry(), failed=False)
    asked = question(todo, sandbox.store().url, "2.60.0")
    open_files(asked.store).write(asked.path, asked.token.encode())
    return asked, path


def test_what_a_node_says_of_itself(asked, sandbox):
    question, _ = asked
    assert len(question.data) == 2
    said = answer(question, "n" * 56, "2.60.0")
    assert verdict(question, said, said.clock - 1, said.clock + 1, True).fault == ""
    assert open_files(question.store).read(token_of(question, "n" * 56)) == b"n" * 56


def test_a_store_that_is_not_shared_is_seen_on_the_node(asked, tmp_path):
    question, _ = asked
    said = answer(replace(question, store=str(tmp_path / "elsewhere")), "n", "2.60.0")
    assert said.store == "what the driver wrote there is not there"
    assert not (tmp_path / "elsewhere").exists()
    said = answer(replace(question, store=f"file://{tmp_path}/elsewhere"), "n", "2.60.0")
    assert said.store == "what the driver wrote there is not there", "a folder that is not the same for both"
    said = answer(replace(question, store="nothing://x"), "n", "2.60.0")
    assert "nothing" in said.store


def test_a_store_whose_driver_a_node_lacks(asked, monkeypatch):
    question, _ = asked
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(opened_before, "s3", raising=False)  # another test of this process may have used it
    said = answer(replace(question, store="s3://bucket/x"), "n", "2.60.0")
    fault = verdict(question, said, said.clock, said.clock, True).fault
    assert "s3fs" in fault
    assert "Install" in fault


def test_a_plugin_that_is_missing_or_other_on_the_node(asked):
    question, path = asked
    path.write_text(path.read_text() + "\n")
    said = answer(question, "n", "2.60.0")
    assert "has other content" in verdict(question, said, said.clock, said.clock, True).fault
    path.unlink()
    said = answer(question, "n", "2.60.0")
    assert "is not there" in verdict(question, said, said.clock, said.clock, True).fault


def test_data_that_only_the_driver_has(asked, monkeypatch):
    question, _ = asked
    track = question.data[0].track.load().TRACK
    monkeypatch.setattr(type(track), "missing", lambda self, task, run: f"{task.name} lies elsewhere")
    said = answer(question, "n", "2.60.0")
    assert sorted(said.missing.values()) == ["t00 lies elsewhere", "t01 lies elsewhere"]


def test_a_full_folder_for_temporary_files(asked, monkeypatch):
    question, _ = asked
    monkeypatch.setattr(worker.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    said = answer(question, "n", "2.60.0")
    assert "0.00 GB are free" in verdict(question, said, said.clock, said.clock, True).fault
