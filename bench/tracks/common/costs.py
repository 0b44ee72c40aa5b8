"""Costs that several tracks measure, so that they mean the same on every board."""

from __future__ import annotations

from bench.contract import Metric

#: As `bench.tracks.common.steps.Steps` measures it.
SECONDS_PER_STEP = Metric(
    name="seconds_per_step", better="lower", unit="s", digits=3, kind="cost",
    doc="of training: wall time of an optimisation step and its data; no snapshots, evaluation, checkpoints",
)  # fmt: skip
