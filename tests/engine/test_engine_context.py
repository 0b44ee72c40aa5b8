"""What a method is given: snapshots that change nothing, checkpoints that survive, folders of its own."""

import ast
import logging
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.contract import BenchError, Censored, Context, Score
from bench.engine.context import RunContext, RunInputs, set_seed, undisturbed


@pytest.mark.slow
def test_a_snapshot_changes_nothing_and_is_off_the_clock_and_a_killed_cell_goes_on(sandbox):
    log = sandbox.folder / "log"
    sandbox.use("watched")
    found = {}
    for name, run in {
        "plain": {"look": False},
        "looked": {"look": True, "opened": str(log)},
        "killed": {"look": True, "kill": "yes"},
    }.items():
        sandbox.of("watched", run=run)
        sandbox.run("trained")
        found[name] = next(r for r in sandbox.records() if r.cell["run"] == _declared(run))
    assert {r.status for r in found.values()} == {"ok"}
    weights = {k: r.metrics["weights"] for k, r in found.items()}
    assert weights["looked"] == weights["plain"], "bit by bit"
    assert weights["killed"] == weights["plain"], "the checkpoint holds every random state"
    assert found["killed"].attempts == 2
    assert [len(r.curve) for r in found.values()] == [10, 10, 10], "the curve goes on too"
    assert [h["step"] for h in found["killed"].history] == [2, 5]
    assert found["looked"].cost["snapshot_s"] > found["plain"].cost["snapshot_s"] == 0
    order = log.read_text().split("\n")[:-1]
    assert order == ["load", "run from 0", "truth", "score", "score", "return", "score"]


def _declared(run):
    return {k: v for k, v in run.items() if not (k == "look" and v)}


def test_truth_is_opened_after_the_method_returned(sandbox):
    log = sandbox.folder / "log"
    sandbox.use("watched").of("watched", run={"look": False, "opened": str(log)})
    sandbox.run("trained")
    assert log.read_text().split("\n")[:-1] == ["load", "run from 0", "return", "truth", "score"]


def test_data_lie_where_the_process_says_when_a_cell_is_run(sandbox, monkeypatch):
    """A notebook may say it between two runs, while the fork server keeps the variables of its own start."""
    plugin = sandbox.folder / "where.py"
    plugin.write_text(
        "import os\nfrom bench.contract import method\n"
        "def where(data, hp, ctx): raise ValueError(os.environ.get('BENCH_DATA'))\n"
        "for name in ('first', 'second', 'third'): method('faults', name=name, id=name)(where)\n"
    )
    sandbox.use("faults").of("faults")
    sandbox.plugins.append(str(plugin))
    said = {"first": "/data/one", "second": "/data/two", "third": None}
    for row, folder in said.items():
        if folder:
            monkeypatch.setenv("BENCH_DATA", folder)
        else:
            monkeypatch.delenv("BENCH_DATA")
        sandbox.run(row)
    assert {row: r.error["message"] for row, r in sandbox.by_row().items()} == {
        row: str(folder) for row, folder in said.items()
    }


def test_a_method_sees_its_own_folders_and_nothing_of_the_truth(sandbox):
    sandbox.use("faults").of("faults", needs={"looks": {"cpu": 2}})
    sandbox.run("looks")
    record = sandbox.by_row()["looks"]
    assert record.status == "ok", record.error
    said = dict(line.split(" ", 1) for line in record.log if " " in line)
    workdir, inside = said["workdir"].split(" ")
    assert inside == "True"
    for folder in (workdir, said["home"], said["tmp"]):
        assert not Path(folder).exists(), "gone afterwards"
        assert Path(folder) not in (Path.home(), Path.cwd())
    assert len({workdir, said["home"], said["tmp"]}) == 3
    assert said["threads"] == "2"
    assert record.where["threads"] == 2
    assert "on stderr" in record.log
    assert any("through the log" in line for line in record.log)
    offered = set(ast.literal_eval(said["names"]))
    documented = {n for n in (*dir(Context), *Context.__annotations__) if not n.startswith("_")}
    assert documented <= offered
    assert not {n for n in offered - documented if "truth" in n}


def test_a_checkpoint_that_could_not_be_read_back_is_refused_at_once(sandbox):
    sandbox.use("watched").of("watched")
    sandbox.run("array")
    record = sandbox.by_row()["array"]
    assert record.status == "failed"
    assert "tensors, numbers, strings" in record.error["message"]


@pytest.mark.slow
def test_seeds_reach_torch_though_the_method_imports_it():
    code = (
        "from bench.engine.context import set_seed, undisturbed\n"
        "set_seed({seed})\n"
        "{look}import torch; print(float(torch.rand(1)))"
    )
    look = "with undisturbed():\n    import torch; torch.rand(3)\n"
    said = [
        subprocess.run(
            [sys.executable, "-c", code.format(seed=s, look=x)], text=True, capture_output=True, check=True
        ).stdout
        for s, x in ((3, ""), (3, look), (4, ""))
    ]
    import torch

    assert float(said[0]) == float(torch.rand(1, generator=torch.Generator().manual_seed(3)))
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_undisturbed_restores_states_and_modes_even_after_an_error():
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    net[1].eval()
    set_seed(7)
    expected = (random.random(), np.random.rand(), float(torch.rand(1)))
    set_seed(7)
    with suppress(ZeroDivisionError), undisturbed():
        random.random(), np.random.rand(), torch.rand(5)
        net.eval()
        raise ZeroDivisionError
    assert (random.random(), np.random.rand(), float(torch.rand(1))) == expected
    assert (net.training, net[0].training, net[1].training) == (True, True, False)


def context(tmp_path, **changed):
    def scorer(answer, history):
        return Score(metrics={"value": answer, "steps": Censored(9.0)})

    given = {
        "seed": 0, "device": "cpu", "amp": False, "workdir": tmp_path, "run": None, "scorer": scorer,
        "log": logging.getLogger("test"), "checkpoints": tmp_path / "kept",
    }  # fmt: skip
    return RunContext(**{**given, **changed})


def test_checkpoint_keeps_history_curve_clock_and_nested_state(tmp_path):
    import torch

    ctx = context(tmp_path)
    assert ctx.restore() is None
    ctx.snapshot(1, 0.5)
    ctx.report(loss=2)
    state = {"a": torch.arange(3), "b": [1, 2.5, "x", None, True], "c": {"d": (1, 2)}}
    ctx.checkpoint(state)
    ctx.checkpoint({**state, "n": 2})
    again = context(tmp_path)
    back = again.restore()
    assert back["n"] == 2
    assert back["b"] == [1, 2.5, "x", None, True]
    assert back["c"]["d"] == (1, 2)
    assert torch.equal(back["a"], torch.arange(3))
    assert again.history == ctx.history
    assert again.history[0].metrics["steps"] == Censored(9.0)
    assert again.curve == ctx.curve
    assert again.seconds() >= ctx.curve[0]["seconds"]
    names = sorted(os.listdir(tmp_path / "kept"))
    assert [n[:10] for n in names] == ["-00000001-", "-00000002-"], "the last two are kept"
    ctx.checkpoint({**state, "n": 3})
    last, before = sorted((tmp_path / "kept").iterdir(), reverse=True)
    assert before.name == names[1]
    last.write_bytes(last.read_bytes()[:-1])
    assert context(tmp_path).restore()["n"] == 2, "one that is cut short is not used"
    assert list((tmp_path / "kept").iterdir()) == [before]
    assert context(tmp_path, made_by="0" * 16).restore() is None, "nor is one of other code"
    assert list((tmp_path / "kept").iterdir()) == []


def test_looks_are_off_the_clock_also_of_a_cell_that_goes_on(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("bench.engine.context.time", SimpleNamespace(monotonic=lambda: now[0]))

    def look(answer, history):
        now[0] += 50.0
        return Score(metrics={"value": answer})

    ctx = context(tmp_path, scorer=look)
    ctx.start_clock()
    for step in (1, 2):
        now[0] += 3.0
        ctx.snapshot(step, 0.5)
        ctx.report(loss=1.0)
    assert [h.seconds for h in ctx.history] == [c["seconds"] for c in ctx.curve] == [3.0, 6.0]
    assert (ctx.seconds(), ctx.snapshot_s) == (6.0, 100.0)
    ctx.checkpoint({"a": 1})
    now[0] += 1000.0
    again = context(tmp_path, scorer=look)
    again.start_clock()
    again.restore()
    now[0] += 2.0
    again.snapshot(3, 0.5)
    assert again.seconds() == again.history[-1].seconds == 8.0


def test_without_a_folder_a_checkpoint_is_nothing(tmp_path):
    ctx = context(tmp_path, checkpoints=None)
    ctx.checkpoint({"a": 1})
    assert ctx.restore() is None


def test_stages_are_named_and_nearest_is_offered(tmp_path):
    inputs = RunInputs(None, "cpu", {"encoder": tmp_path})
    assert inputs.stage("encoder") == tmp_path
    with pytest.raises(
        BenchError, match="stage 'encodr' is not declared for this cell; did you mean 'encoder'"
    ):
        inputs.stage("encodr")


DIES = """
import os
import signal
from pathlib import Path

from bench.contract import method


@method("faults", name="Dies until it may live")
def dies(data, hp, ctx):
    state = ctx.restore()
    step = state["step"] if state else 0
    with Path(data["flag"]).open("a") as f:
        f.write(f"{step} ")
    ctx.checkpoint({"step": step + 1})
    if not Path(data["flag"] + ".live").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("new", "starts_at"),
    [("return 1.0  # a comment\nUNUSED = 1\n", "3"), ("return 1.0 + 0\n", "0")],
)
def test_a_checkpoint_is_used_only_by_the_code_that_made_it(sandbox, new, starts_at):
    flag, plugin = sandbox.folder / "starts", sandbox.folder / "dies.py"
    plugin.write_text(DIES)
    sandbox.use("faults").plugins.append(str(plugin))
    sandbox.of("faults", run={"flag": str(flag)})
    sandbox.run("dies")
    assert sandbox.by_row()["dies"].status == "lost"
    assert flag.read_text().split() == ["0", "1", "2"]
    flag.write_text("")
    Path(f"{flag}.live").touch()
    assert DIES.count("return 1.0\n") == 1
    plugin.write_text(DIES.replace("return 1.0\n", new))
    sandbox.run("dies")
    assert sandbox.by_row()["dies"].status == "ok"
    assert flag.read_text().split() == [starts_at]
