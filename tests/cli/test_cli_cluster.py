"""`bench cluster init`: what it writes, and what it says where a cluster could not reach something."""

import pytest
import yaml


def line(sandbox, kind, *words):
    return ["cluster", "init", kind, "--suite", str(sandbox.suite), *words]


def plugins(sandbox):
    return [x for p in sandbox.plugins for x in ("--plugin", p)]


def test_a_slurm_script_runs_the_same_cells(sandbox, bench, tmp_path):
    sandbox.use("slow").of("slow", grid={"cells": 5})
    out, store = tmp_path / "job.sh", str(tmp_path / "store")
    words = [*plugins(sandbox), "-m", "half", "-k", "i=1|2", "--store", store, "--out", str(out)]
    said = bench(*line(sandbox, "slurm", *words))
    assert (said.code, "gpu-1 for 2 cells and stages" in said.out) == (0, True), said
    text = out.read_text()
    assert f"bench run -p laptop -m half -k 'i=1|2' --store {store} --suite {sandbox.suite}" in text
    assert f"--plugin {sandbox.plugins[0]}" in text
    again = bench(*line(sandbox, "slurm", *words))
    assert (again.code, "exists; remove it or choose another --out" in again.err) == (2, True)


def test_kuberay_wants_an_image_a_store_and_no_files_of_this_machine(grids, bench, tmp_path, monkeypatch):
    out = ["--out", str(tmp_path / "job.yaml")]
    image, store = ["--image", "me/gridbench:1"], ["--store", "memory://cluster"]
    for words, cause in (
        ([*image], "share no folder with this one"),
        ([*image, "--store", str(tmp_path)], "share no folder with this one"),
        ([*store, "-p", "paper"], "name the container image with --image"),
        ([*image, *store, "--suite", str(grids.suite)], f"pods do not see {grids.suite}"),
    ):
        wrong = bench("cluster", "init", "kuberay", *words, *out)
        assert (wrong.code, cause in wrong.err) == (2, True), wrong
    said = bench("cluster", "init", "kuberay", *image, *store, *out, "-p", "paper", "-t", "dit_transfer")
    assert said.code == 0, said
    made = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert made["spec"]["entrypoint"] == "bench run -p paper -t dit_transfer --store memory://cluster"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "slurn"], "expected kuberay, slurm, aws; did you mean 'slurm'?"),
        (["int", "slurm"], "bench cluster int: expected init"),
    ],
)
def test_a_wrong_word_is_told(bench, words, said):
    wrong = bench("cluster", *words)
    assert (wrong.code, said in wrong.err) == (2, True), wrong


def test_a_plan_with_nothing_to_run_asks_for_no_cluster(ran, bench, tmp_path):
    grids, _ = ran
    out = tmp_path / "job.sh"
    words = [*plugins(grids), "--store", str(grids.store_folder), "--out", str(out)]
    wrong = bench(*line(grids, "slurm", *words))
    assert (wrong.code, "has nothing to run" in wrong.err, out.exists()) == (2, True, False), wrong
