"""Gains, slopes and costs on boards whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sample_board import board_of

from bench.board.model import Board
from bench.board.tables.costs import costs
from bench.board.tables.gains import gains
from bench.board.tables.metrics_by_task import metrics_by_task
from bench.board.tables.other_metrics import other_metrics
from bench.board.tables.slopes import slopes
from bench.contract import Task


def test_gain_leaves_out_aliased_tasks(board):
    gain = next(g for g in gains(board) if g.info.row == "multi/dcnv2")
    assert gain.counterpart == "single/dcnv2"
    assert set(gain.by_task) == {"flights-4x", "flights-10x"}
    by_hand = [
        board.estimate("multi/dcnv2", t).mean - board.estimate("single/dcnv2", t).mean for t in gain.by_task
    ]
    assert gain.contrast.diff == pytest.approx(np.mean(by_hand))


def test_slope_recovers_a_known_one_per_doubling(sample):
    x = [1, 2, 3, 4, 10]
    tasks = [Task(name=f"{d}-{s}x", params={"dataset": d, "scale": s}) for d in "ab" for s in x]
    exact = [
        [0.7 + (0.02 if d == "b" else 0.01) * math.log2(s) + 0.001 * k for k in range(3)]
        for d in "ab"
        for s in x
    ]
    board = board_of({"lr": exact}, tasks=tasks)
    (s,) = slopes(board)
    assert s.curves == 2
    assert s.estimate.mean == pytest.approx(0.015)
    assert (s.estimate.n, s.estimate.half) == (3, pytest.approx(0, abs=1e-9))


def test_slope_leaves_out_a_seed_that_lacks_a_point(board):
    n = {s.info.row: s.estimate.n for s in slopes(board)}
    assert n["fm"] == 2
    assert n["lr"] == 3
    assert "mine" not in n


def test_a_metric_of_other_units_on_each_task_has_no_mean_over_them(sample, slots):
    class Track(sample.track):
        metrics = (
            *sample.track.metrics[:1],
            dataclasses.replace(sample.track.metrics[1], averaged=False),
            *sample.track.metrics[2:],
        )

    board = Board(dataclasses.replace(sample.spec(), track=Track()), slots)
    (found,) = metrics_by_task(board)
    assert found.heads == ("row", "flights-1x", "flights-4x", "flights-10x")
    by_row = {row[0]: row[1:] for row in found.rows}
    expected = board.estimate("lr", "flights-4x", "logloss").mean
    assert by_row["LR"][1] == f"{expected:.4f}"
    assert not any(head.startswith("logloss") for head in other_metrics(board).heads)
    assert metrics_by_task(Board(sample.spec(), slots)) == []


def test_shared_costs_are_the_sum_over_stages_and_stand_apart(sample, slots):
    for s in slots:
        if s.row == "lr" and s.status == "ok":
            s.cost = {"run_s": 1.0, "shared_s": {"network": 20.0, "bank": 4.0}}
    table = costs(Board(sample.spec(), slots))
    label = "2 × x86, no GPU"
    assert table.values["lr"][label]["run_s"] == (1.0, True)
    assert table.values["lr"][label]["shared_s"] == (24.0, True)
    assert "shared_s" not in table.values["fm"][label]


def test_costs_are_never_averaged_over_hardware(sample, slots):
    for s in slots:
        s.hardware = "big" if s.seed == 0 else s.hardware
        s.cost = {"run_s": 1.0 if s.seed == 0 else 9.0} if s.status == "ok" else {}
    table = costs(Board(sample.spec(), slots))
    assert table.labels == ("2 × x86, no GPU", "big")
    assert table.values["lr"]["big"]["run_s"] == (1.0, True)
    assert table.values["lr"]["2 × x86, no GPU"]["run_s"] == (9.0, True)
    assert table.values["mine"]["big"]["run_s"] == (1.0, False)
    for k, s in enumerate(slots):
        s.hardware = f"node {k % 5}"
    assert not costs(Board(sample.spec(), slots)).compared


def test_cells_that_shared_a_gpu_say_nothing_of_costs(sample, slots):
    shared = [s for s in slots if s.seed == 0 and s.status == "ok"]
    for s in slots:
        s.cost = {"run_s": 9.0} if s.status == "ok" else {}
    for s in shared:
        s.cost, s.marks = {"run_s": 1e6}, ("shared: 3",)
    table = costs(Board(sample.spec(), slots))
    assert table.values["lr"]["2 × x86, no GPU"]["run_s"] == (9.0, True)
    assert table.shared == len(shared) > 0
