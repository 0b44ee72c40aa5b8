"""The curve of a record: of any number of reports a bounded number of points, evenly, both ends kept."""

import logging

import pytest

from bench.contract import BenchError, Censored, Score, Snapshot
from bench.engine.child import _history, _points
from bench.engine.context import NUMBERS, POINTS, Curve, RunContext


def context(folder, **changed):
    given = {
        "seed": 0, "device": "cpu", "amp": False, "workdir": folder, "run": None,
        "checkpoints": folder / "kept", "log": logging.getLogger("test"),
        "scorer": lambda answer, history: Score(metrics={"value": answer}),
    }  # fmt: skip
    return RunContext(**{**given, **changed})


@pytest.mark.parametrize(("n", "width"), [(1, 1), (2, 1), (2000, 1), (2001, 1), (100_000, 1), (300, 900)])
def test_a_curve_keeps_both_ends_and_a_bounded_number_of_points_in_between(n, width):
    curve = Curve()
    for i in range(n):
        curve.add({"step": i, **{f"layer {j}": 0.0 for j in range(width - 1)}})
        steps = [p["step"] for p in curve.points[-3:]]
        assert steps[-1] == i
        assert len(curve.points) <= POINTS
        assert len(curve.points) * width <= max(NUMBERS, 3 * width)
    steps = [p["step"] for p in curve.points]
    assert steps[0] == 0
    assert curve.seen == n
    assert steps[:-1] == list(range(0, n, curve.stride))[: len(steps) - 1], "evenly"
    assert (curve.stride == 1) == (n * width <= NUMBERS and n <= POINTS)
    assert len(steps) >= min(n, POINTS // 2, NUMBERS // width // 2)


def test_a_thinned_curve_goes_on_from_its_checkpoint(tmp_path):
    ctx, whole = context(tmp_path), context(tmp_path, checkpoints=None)
    for i in range(5000):
        ctx.report(step=i)
    ctx.checkpoint({"n": 1})
    again = context(tmp_path)
    again.restore()
    for i in range(5000, 10_000):
        again.report(step=i)
    for i in range(10_000):
        whole.report(step=i)
    assert [p["step"] for p in again.curve] == [p["step"] for p in whole.curve]
    assert (again.reports.seen, again.reports.stride) == (10_000, 8)


def test_many_snapshots_are_thinned_in_the_record_and_the_log_says_so(caplog):
    looks = [Snapshot(i, i / 10, {"a": 1.0, "b": float("nan"), "c": Censored(2.0)}) for i in range(100_000)]
    with caplog.at_level(logging.INFO):
        kept = _points("snapshots", _history(looks))
    assert (kept[0]["step"], kept[-1]["step"]) == (0, 99_999)
    assert 1000 < len(kept) <= 2000
    assert kept[1]["metrics"] == {"a": 1.0, "b": None, "c": {"bound": 2.0}}
    assert f"100000 snapshots: the record keeps {len(kept)}, one in 64 and the last" in caplog.text


@pytest.mark.parametrize("numbers", [{"x" * 101: 1}, {f"n{i}": 1 for i in range(1001)}])
def test_a_report_that_no_record_can_hold_is_refused_with_words(tmp_path, numbers):
    ctx = context(tmp_path)
    longest = max(map(len, numbers))
    with pytest.raises(BenchError) as e:
        ctx.report(**numbers)
    assert str(e.value) == (
        "ctx.report: expected at most 1000 numbers and 100 letters in a name, "
        f"found {len(numbers)} and up to {longest}"
    )
    assert ctx.curve == []
