"""A stranger's file, and an installed package: checked, run and shown beside what is there."""

import os
import subprocess
import sys

import pytest

from bench.store.code.closure import unpack_listing

NEWCOMER = '''"""Nearest mean, by a stranger."""
from bench.contract import method

@method("{track}", name="A stranger's baseline", hp={{"level": 0.55}})
def stranger(data, hp, ctx):
    {answer}
'''


def test_a_newcomers_file_appears_on_the_board_of_a_stub(ran, tmp_path):
    grids, bench = ran
    file = tmp_path / "elsewhere" / "stranger.py"
    file.parent.mkdir()
    file.write_text(NEWCOMER.format(track="grids", answer="return hp['level']"))
    grids.plugins.append(str(file))
    assert bench(*grids.arguments("check", str(file), store=False)).code == 0
    assert bench(*grids.arguments("run", "--local")).code == 0
    said = bench(*grids.arguments("board"))
    assert "A stranger's baseline" in said.out
    assert {r.status for r in grids.records() if r.cell["row"] == "stranger"} == {"ok"}


def definitions(sandbox, record) -> set[str]:
    """Names of the definitions that a record is held to."""
    listing = sandbox.store().artifacts.get(record.provenance["code"])
    return {name for name, _ in unpack_listing(listing)}


@pytest.mark.slow
def test_a_newcomers_file_appears_on_the_board_of_a_real_track(sandbox, bench, tmp_path):
    answer = (
        "import numpy as np\n"
        "    rate = np.full(len(data.test_x), data.click_rate)\n"
        "    return {'val': rate[:1].repeat(len(data.val_x)), 'test': rate, 'parameters': 1}"
    )
    file = tmp_path / "stranger.py"
    file.write_text(NEWCOMER.format(track="embedding_scale", answer=answer))
    assert len(file.read_text().splitlines()) <= 20
    common = ["-p", "smoke", "--plugin", str(file), "--store", str(sandbox.store_folder)]
    assert bench("check", str(file)).code == 0
    said = bench("run", "--local", "-t", "embedding_scale", "-m", "stranger", "-m", "prior", *common)
    assert said.code == 0, said
    said = bench("board", "-t", "embedding_scale", *common)
    assert "A stranger's baseline" in said.out
    rows = {r.cell["row"]: r for r in sandbox.records()}
    assert rows["stranger"].metrics["auc"] == 0.5
    assert {"stranger", "EmbeddingScale.load", "auc"} <= definitions(sandbox, rows["stranger"])


def test_an_installed_package_brings_a_row_whose_code_counts(grids, tmp_path):
    """By entry point, in fresh processes: planned, run, and stale when the package changes."""
    site = tmp_path / "site"
    (site / "afar").mkdir(parents=True)
    (site / "afar-1.dist-info").mkdir()
    (site / "afar-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: afar\nVersion: 1\n")
    (site / "afar-1.dist-info" / "entry_points.txt").write_text("[bench.methods]\nafar = afar.rows\n")
    (site / "afar" / "__init__.py").write_text("")
    (site / "afar" / "level.py").write_text("LEVEL = 0.3\n")
    text = NEWCOMER.format(track="grids", answer="from afar.level import LEVEL; return LEVEL")
    (site / "afar" / "rows.py").write_text(text)

    def call(*words):
        line = [sys.executable, "-m", "bench.cli", *grids.arguments(*words, "-m", "stranger", "-k", "seed=0")]
        env = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
        return subprocess.run(line, env=env, text=True, capture_output=True, check=True).stdout

    call("run", "--local")
    records = [r for r in grids.records() if r.cell["row"] == "stranger"]
    assert {r.metrics["value"] for r in records} == {0.3}
    assert {"stranger", "LEVEL"} <= definitions(grids, records[0])
    assert "2 done" in call("plan")
    (site / "afar" / "level.py").write_text("LEVEL = 0.31\n")
    assert "stale: LEVEL changed since" in call("plan")
