"""Three stub tracks of the kinds to come, through plan, engine, store and board."""

import numpy as np
import pytest
from rich.console import Console

from bench.board.collect import boards
from bench.board.text import csvout, markdown, terminal


def shown(sandbox, tmp_path):
    """The board of the sandbox's one track, as text of three renderers."""
    (board,) = boards(sandbox.plan(), sandbox.store(), tmp_path / "published")
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal.render(board, width=160))
    return board, console.export_text(), markdown.render(board), csvout.render(board)


@pytest.fixture
def sampler(sandbox):
    sandbox.use("sampler").of("sampler", seeds=2, ranks_by="distance")
    return sandbox


@pytest.mark.slow
def test_sampler_with_stages_snapshots_views_and_a_censored_metric(sampler, tmp_path):
    plan = sampler.plan()
    assert [(s.stage.name, s.shard) for s in plan.stages.values()] == [
        ("encoder", 0), ("bank", 0), ("bank", 1),
    ]  # fmt: skip
    sweep = sampler.run()
    assert not sweep.stopped
    assert {e.status for e in sweep.ended} == {"ok"}
    ended = [e.unit.label for e in sweep.ended]
    assert ended.index("sampler · stage encoder") < ended.index("sampler · stage bank 1/2")
    assert len([x for x in ended if "stage" in x]) == 3, "a stage is built once, however many cells read it"
    records = {
        (r.cell["row"], r.cell["task"], r.cell["seed"]): r for r in sampler.records() if r.kind == "cell"
    }
    full = records["full", "bright", 0]
    assert [h["step"] for h in full.history] == [1, 2, 3, 4, 5, 6]
    assert full.metrics["steps_to"] == 3, "80 · 0.4^3 = 5.1 < 10, 80 · 0.4^2 = 12.8"
    assert full.series["way"]["coords"]["step"] == [1, 2, 3, 4, 5, 6]
    assert len(full.curve) == 6
    assert set(full.provenance["stages"]) == {"encoder"}
    assert set(records["banked", "dark", 1].provenance["stages"]) == {"encoder", "bank"}
    untrained = records["untrained", "dark", 0]
    assert untrained.metrics["steps_to"] == {"bound": 6.0}, "never reached: known only to lie beyond"
    assert ("untrained", "dark", 1) not in records, "a deterministic row runs once"
    view = sampler.store().artifacts.view(full.views["samples"])
    assert view.shape == (8, 32, 3)
    assert abs(float(view.mean()) - 200) < 15
    board, in_terminal, in_markdown, in_csv = shown(sampler, tmp_path)
    assert board.rows[0].info.row in ("full", "banked/no-bank")
    assert board.rows[-1].info.row == "untrained"
    for said in (in_terminal, in_markdown):
        assert "With a bank · no-bank" in said
    assert "untrained" in in_csv
    assert sampler.run().ended == [], "nothing is left to do"


SEEDED = """
import numpy as np
from bench.contract import Stage, method

def build(ctx):
    (ctx.outdir / "seed.txt").write_text(str(ctx.seed))

@method('sampler', name='Seeded', stages=(Stage(name="net", build=build, per_seed=True),))
def seeded(data, hp, ctx):
    ctx.report(read=float((ctx.stage("net") / "seed.txt").read_text()))
    return lambda n, generator: np.full((n, 8, 8, 3), 100, np.uint8)

@method('sampler', name='Packaged', missing=lambda task, run: "no package 'lens': pip install lens")
def packaged(data, hp, ctx):
    return lambda n, generator: np.zeros((n, 8, 8, 3), np.uint8)
"""


def test_cells_of_a_seed_read_and_pay_for_its_own_stage_alone(sampler, tmp_path):
    (tmp_path / "seeded.py").write_text(SEEDED)
    sampler.plugins.append(str(tmp_path / "seeded.py"))
    planned = sampler.plan("seeded")
    reads = {(c.task.name, c.cell.seed): c.reads for c in planned.cells}
    assert reads["bright", 0] == reads["dark", 0]
    shared = {*reads["bright", 0]} & {*reads["bright", 1]}
    assert [len({*keys} - shared) for keys in reads.values()] == [1] * 4, "beside what all rows read"
    sweep = sampler.run("seeded", k="bright")
    assert [e.unit.label for e in sweep.ended if "stage net" in e.unit.label] == [
        "sampler · bright · stage net, seed 0", "sampler · bright · stage net, seed 1",
    ]  # fmt: skip
    records = {r.cell["seed"]: r for r in sampler.records() if r.kind == "cell"}
    built = {r.cell["seed"]: r for r in sampler.records() if r.cell.get("stage") == "net"}
    for seed, record in records.items():
        assert record.curve[0]["read"] == seed
        assert record.cost["shared_s"]["net"] == pytest.approx(built[seed].cost["run_s"], abs=1e-3)
    assert sampler.run("seeded", k="bright").ended == []


def test_a_row_whose_package_is_absent_is_blocked_and_says_what_helps(sampler, tmp_path):
    (tmp_path / "seeded.py").write_text(SEEDED)
    sampler.plugins.append(str(tmp_path / "seeded.py"))
    cells = sampler.plan("packaged").cells
    assert {c.state for c in cells} == {"blocked"}
    assert {c.reason for c in cells} == {"no package 'lens': pip install lens"}


def test_a_sampler_of_the_wrong_shape_fails_with_words(sampler, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import numpy as np\nfrom bench.contract import method\n"
        "@method('sampler', name='Grey')\n"
        "def grey(data, hp, ctx):\n    return lambda n, generator: np.zeros((n, 8, 8), np.uint8)\n"
    )
    sampler.plugins.append(str(bad))
    sampler.run("grey", k="bright,seed=0")
    record = sampler.by_row()["grey"]
    assert record.status == "failed"
    assert record.error["type"] == "AnswerError"
    assert "expected uint8 (64, 8, 8, 3), found (64, 8, 8)" in record.error["message"]


def test_ensemble_with_series_units_censoring_and_a_split_per_seed(sandbox, tmp_path):
    sandbox.use("ensemble").of("ensemble", seeds=2, ranks_by="crps")
    sweep = sandbox.run()
    assert {e.status for e in sweep.ended} == {"ok"}
    records = {(r.cell["row"], r.cell["task"], r.cell["seed"]): r for r in sandbox.records()}
    first, second = records["noisy", "wind", 0], records["noisy", "wind", 1]
    assert first.series["crps_by_lead"]["coords"]["lead"] == [1, 2, 3, 4]
    assert first.series["crps_by_lead"]["data"][3] > first.series["crps_by_lead"]["data"][0]
    units = [sandbox.store().artifacts.units(r.units["crps"]) for r in (first, second)]
    assert list(units[0].ids) != list(units[1].ids), "each seed has its own test days"
    assert float(np.mean(units[0].values)) == pytest.approx(first.metrics["crps"], abs=2e-3)
    other = sandbox.store().artifacts.units(records["level", "wind", 0].units["crps"])
    assert list(other.ids) == list(units[0].ids), "every method of one seed answers the same days"
    kinds = {type(r.metrics["useful_until"]) for r in records.values()}
    assert kinds == {dict, float}, "some methods stay useful to the last lead, some do not"
    board, in_terminal, in_markdown, in_csv = shown(sandbox, tmp_path)
    assert board.rows[0].info.row in ("noisy", "level")
    assert "Noisy persistence · wide" in in_terminal
    assert "Persistence" in in_markdown
    assert in_csv.count("\n") > 4


def test_names_asked_with_base_new_and_all(sandbox, tmp_path):
    sandbox.use("names").of("names", seeds=2, ranks_by="harmonic")
    sandbox.run()
    records = {(r.cell["row"], r.cell["task"], r.cell["seed"]): r for r in sandbox.records()}
    zero, tuned = records["zero-shot", "shift-0", 0], records["tuned", "shift-0", 0]
    assert zero.metrics["all_names"] <= min(zero.metrics["base"], zero.metrics["new"])
    assert tuned.metrics["new"] == zero.metrics["new"], "nothing was learnt of the new names"
    assert tuned.metrics["val_base"] is not None
    assert sandbox.store().artifacts.units(zero.units["all_names"]).ids[0] == "img-0"
    broken = records["memorised", "shift-0", 0]
    assert broken.status == "failed"
    assert "(120, 6)" in broken.error["message"]
    board, in_terminal, _, _ = shown(sandbox, tmp_path)
    assert {r.info.row for r in board.rows if r.partial} == {"memorised"}
    assert "Zero-shot" in in_terminal
