"""A stage that other code built is stale like a cell: its readers are told, and it is built again before any
of them runs.
"""

import re

import pytest

from bench.engine.execute import units
from bench.engine.forkserver import ForkServer
from bench.engine.leases import run_unit_alone

MINE = """
from bench.contract import method


@method("sampler", name="Mine")
def mine(data, hp, ctx):
    ctx.stage("encoder")
    shift = 0.0
    return lambda n, rng: (rng.normal(data["start"] + shift, 5, (n, 8, 8, 3))).clip(0, 255).astype("uint8")
"""


@pytest.fixture
def sampler(sandbox):
    """The stub, with the builders' numbers in files of their own that no cell loads."""
    path = sandbox.copy("sampler")
    text = path.read_text()
    for old, new in {
        "import numpy as np\n": (
            f"import sys\nsys.path.insert(0, {str(sandbox.folder)!r})\nimport numpy as np\n"
        ),
        '    """One file:': '    import encoder_numbers\n\n    encoder_numbers.use()\n    """One file:',
        "rng.normal(mean, 10.0, 50)": "rng.normal(mean, __import__('bank_numbers').WIDTH, 50)",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    (sandbox.folder / "encoder_numbers.py").write_text("def use():\n    return 1\n")
    (sandbox.folder / "bank_numbers.py").write_text("WIDTH = 10.0\n")
    sandbox.of("sampler", ranks_by="distance", grid={"targets": ["bright"]})
    sandbox.run()
    assert set(sandbox.states().values()) == {"done"}
    return sandbox


def causes(sandbox, row):
    return next(list(c.causes) for c in sandbox.plan().cells if c.row == row)


def banks(sandbox):
    return {r.cell["shard"]: r for r in sandbox.records() if r.cell.get("stage") == "bank"}


def test_readers_of_a_stage_that_other_code_built_are_stale_until_it_is_built_again(sampler):
    before = banks(sampler)
    (sampler.folder / "bank_numbers.py").write_text("WIDTH = 30.0\n")
    plan = sampler.plan()
    assert {c.row for c in plan.cells if c.state == "stale"} == {"banked", "banked/no-bank"}
    (cause,) = causes(sampler, "banked")
    assert re.fullmatch(r"stage bank is stale: WIDTH changed since \w+", cause)
    assert [(s.stage.name, s.shard, s.state) for s in plan.stages.values()] == [
        ("bank", 0, "stale"), ("bank", 1, "stale"),
    ]  # fmt: skip
    assert plan.to_run() == []
    sampler.run()
    assert {k: r.ended for k, r in banks(sampler).items()} == {k: r.ended for k, r in before.items()}

    sampler.run(stale=True)
    after = banks(sampler)
    assert all(after[k].provenance["artifact"] != before[k].provenance["artifact"] for k in (0, 1))
    assert len(list((sampler.store_folder / "aside").iterdir())) == 2
    assert set(sampler.states().values()) == {"done"}


def test_a_new_cell_has_stale_stages_built_first_and_equal_files_make_the_others_fresh(sampler):
    (sampler.folder / "encoder_numbers.py").write_text("def use():\n    return 2\n")
    assert set(sampler.states().values()) == {"stale"}
    assert causes(sampler, "full")[0].startswith("stage encoder is stale: use changed since")
    assert "stage bank is stale: stage encoder is stale" in causes(sampler, "banked")
    first = {r.key: r.ended for r in sampler.records() if r.kind == "cell"}
    sampler.of("sampler", ranks_by="distance", grid={"targets": ["bright", "dark"]})
    sweep = sampler.run("full")
    assert [e.unit.job.kind for e in sweep.ended] == ["stage", "cell"]
    assert not (sampler.store_folder / "aside").exists()
    sampler.run("banked")
    assert {c.state for c in sampler.plan().cells if c.task.name == "bright"} == {"done"}
    assert first.items() <= {r.key: r.ended for r in sampler.records()}.items(), "none of them ran again"


def test_a_stage_that_cannot_be_built_again_is_failed_and_its_old_files_stay(sampler):
    (sampler.folder / "bank_numbers.py").write_text("raise OSError('full')\n")
    sampler.run(stale=True)
    store = sampler.store()
    (banked,) = [h for h in store.summaries().values() if h.row == "banked" and h.task == "bright"]
    assert banked.status == "ok", "that it was skipped for the stage hides no number"
    assert store.history(banked.key)[-1].status == "skipped"
    assert "stale" in {c.state for c in sampler.plan("banked").cells}
    assert {r.status for r in banks(sampler).values()} == {"failed"}
    assert not (sampler.store_folder / "aside").exists()
    (sampler.folder / "bank_numbers.py").write_text("WIDTH = 10.0\n")
    sampler.run(stale=True, failed=True)
    assert set(sampler.states().values()) == {"done"}
    assert {r.status for r in sampler.records()} == {"ok"}


def test_of_two_drivers_one_builds_a_stale_stage_again(sampler):
    (sampler.folder / "bank_numbers.py").write_text("WIDTH = 30.0\n")
    plan = sampler.plan()
    todo, _ = units(plan, plan.to_run(stale=True), sampler.registry(), failed=False)
    bank = next(u for u in todo if u.job.kind == "stage")
    server = ForkServer(("xarray",))
    server.start()
    one, other = (run_unit_alone(bank, server, sampler.store()) for _ in range(2))
    assert one.status == "ok"
    assert (one.started, one.ended) == (other.started, other.ended)
    assert one.ended != bank.replaces


def test_the_method_that_asked_first_does_not_make_the_tracks_stage_stale(sandbox):
    sandbox.use("sampler").of("sampler", ranks_by="distance", grid={"targets": ["bright"]})
    mine = sandbox.folder / "mine.py"
    mine.write_text(MINE)
    sandbox.plugins.append(str(mine))
    sandbox.run("mine")
    sandbox.run("full")
    (encoder,) = [r for r in sandbox.records() if r.cell.get("stage") == "encoder"]
    assert encoder.status == "ok"
    mine.write_text(MINE.replace("shift = 0.0", "shift = 1.0"))
    assert sandbox.states()["full"] == "done"
    assert [c.partition(" changed")[0] for c in causes(sandbox, "mine")] == ["mine"]


def test_accepting_a_cell_accepts_the_stale_stages_that_it_reads(sampler, bench):
    (sampler.folder / "bank_numbers.py").write_text("WIDTH = 10.0 + 0.0\n")
    key = sampler.by_row()["banked"].key
    said = bench(*sampler.arguments("accept", key, "--reason", "adds zero"))
    assert said.code == 0, said.err
    assert "stage bank 2/2 accepted" in said.out
    assert set(sampler.states().values()) == {"done"}
    assert banks(sampler)[1].marks == ["accepted: adds zero"]
