"""What a cell really runs is in its code: the names that are followed, against the calls that are made."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path

import pytest
from nightly import at_night

from bench.engine.context import RunContext, RunInputs, set_seed
from bench.plan import Filter, make_plan
from bench.registry import Registry
from bench.store.code.closure import _DECIDES, _SHOWS_DATA
from bench.suite import Suite

ROOT = Path(__file__).resolve().parents[2]


def called_by(c, folder: Path) -> set[str]:
    """Names of the definitions of ours that run while a cell is loaded, run and scored in this process."""
    seen: set[tuple[str, str]] = set()
    _run(c, folder)  # imports, which run the bodies of classes that the cell never uses

    def look(frame, event, arg):
        if event == "call":
            seen.add((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        _run(c, folder)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    ours = {
        (m, q)
        for m, q in seen
        if _DECIDES.match(m) and m not in _SHOWS_DATA and not q.startswith(("<", "__create_fn__"))
    }  # the latter: of dataclasses
    owner = type(c.plan.track).__qualname__
    return {q if q.startswith(f"{owner}.") else q.partition(".")[0] for _, q in ours}


def _run(c, folder: Path) -> None:
    track, run, inputs = c.plan.track, c.plan.run, RunInputs(None, "cpu")
    given = track.load(c.task, run, inputs)
    set_seed(0)
    kept = track.truth(c.task, run, inputs)

    def score(answer, history):
        return track.score(c.task, answer, kept, history)

    ctx = RunContext(0, "cpu", False, folder, run, logging.getLogger("test"), score)
    score(c.found.method.fn(given, dict(c.cell.hp), ctx), [])


@pytest.mark.parametrize(
    ("track", "row"),
    [
        ("embedding_scale", "multi/dcnv2"), at_night("embedding_scale", "single-regularised/dcnv2"),
        at_night("embedding_scale", "fm"), ("multi_domain", "d-train"), at_night("multi_domain", "dann"),
        at_night("multi_domain", "ple"),
    ],
)  # fmt: skip
def test_every_definition_that_runs_is_in_the_code_of_its_cell(track, row, tmp_path):
    suite, registry = Suite.read(ROOT / "bench.yaml"), Registry()
    plan = make_plan(suite, registry, None, "smoke", tracks=[track], wanted=Filter([row]))
    c = next(c for c in plan.cells if c.row == row and c.alias_of is None)
    names = {name for name, _ in c.dependencies.code.pairs}
    called = {name.partition(".<locals>")[0] for name in called_by(c, tmp_path)}
    assert len(called) > 10, "the calls were seen"
    assert called <= names, sorted(called - names)
