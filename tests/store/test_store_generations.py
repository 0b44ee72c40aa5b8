"""Which of several records of one cell counts, and that no number is ever lost, whatever the clocks said."""

from __future__ import annotations

import dataclasses
import uuid
from unittest.mock import patch

import pytest
from conftest import make_record
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import STATUSES, Record
from bench.store import segments
from bench.store.code.names import Closure
from bench.store.encoding import dump
from bench.store.provenance import Dependencies
from bench.store.records import Store
from bench.store.upkeep.accepting import stamped, write_stamped

EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"


def make(
    status: str = "ok", generation: int = 0, ended: str = EARLY, value: float | None = 1.0, **more
) -> Record:
    metrics = {} if value is None else {"auc": value}
    return make_record(1, status=status, generation=generation, ended=ended, metrics=metrics, **more)


def bare(status: str, generation: int = 0, ended: str = LATE, **more) -> Record:
    return make(status, generation, ended, None, **more)


BY_STAGE = {"error": {"stage": "ab12"}, "reason": "stage bank failed"}


@pytest.mark.parametrize(
    ("counts", "other"),
    [
        # An end that is nobody's never hides a result.
        (make("ok"), bare("lost", 1)),
        (make("ok"), bare("skipped", 1, **BY_STAGE)),
        (make("timeout"), bare("lost", 5)),
        # A record that was made to replace another does, whatever their clocks say.
        (make("ok", 1, EARLY, 0.5), make("ok", 0, LATE)),
        (make("timeout", 1, EARLY, None), make("ok", 0, LATE)),
        (bare("skipped", 1, EARLY, reason="too large"), make("ok", 0, LATE)),
        # Two drivers ran one cell at once: the number counts.
        (make("ok", 0, EARLY), bare("timeout")),
        (make("ok", 1, EARLY), bare("oom", 1)),
        (make("ok", 0, EARLY), bare("skipped", reason="stage play is too large for this method")),
        # Else the last.
        (make("ok", 0, LATE, 0.5), make("ok", 0, EARLY)),
        (bare("oom", 0, LATE), bare("timeout", 0, EARLY)),
        (bare("lost", 0, LATE), bare("skipped", 0, EARLY, **BY_STAGE)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", ["counts", "other"])
def test_which_counts_does_not_depend_on_who_writes_first(local, counts, other, first):
    for r in (counts, other) if first == "counts" else (other, counts):
        local.write(r)
    for _ in range(2):
        for seen in (local, Store.open(local.url)):
            assert dump(seen.read(counts.key)) == dump(counts)
        local.seal(1)


def test_sealing_keeps_every_number_and_history_shows_it(local):
    written = [make("ok", g, value=float(g)) for g in range(3)] + [bare("timeout", 3), bare("lost", 4)]
    for r in written:
        local.write(r)
        local.seal(1)
    for seen in (local, Store.open(local.url)):
        shown = seen.history(written[0].key)
        assert [(r.generation, r.status) for r in shown if r.status != "lost"] == [
            (0, "ok"), (1, "ok"), (2, "ok"), (3, "timeout"),
        ]  # fmt: skip
        assert [r.metrics for r in shown[:3]] == [{"auc": 0.0}, {"auc": 1.0}, {"auc": 2.0}]
        assert seen.read(written[0].key).status == "timeout"
    assert local.history("0" * 16) == []


def test_ends_without_a_number_that_do_not_count_go_when_sealed(local):
    for i in range(5):
        local.write(bare("failed", i))
    local.write(make("ok", 5))
    local.seal(1)
    assert [r.status for r in Store.open(local.url).history(make().key)] == ["ok"]


def test_accepting_makes_the_next_generation(local):
    local.write(make("ok", 2, LATE))
    code = Closure([("f", "a1")], [])
    today = Dependencies(code=code, data="d")
    accepted = stamped(local.read(make().key), today, reason="a comment")
    write_stamped(local, [accepted], [code])
    assert accepted.generation == 3
    assert Store.open(local.url).read(accepted.key).generation == 3


def test_show_tells_the_history_of_a_cell(local, bench):
    for r in (make("ok", 0, LATE, 0.25), make("timeout", 1, EARLY, None), bare("lost", 1)):
        local.write(r)
    said = bench("show", make().key[:10], "--history", "--store", local.url)
    assert said.code == 0
    head, *lines = [x.split() for x in said.out.strip().splitlines()]
    assert head[:3] == ["generation", "ended", "status"]
    assert [x[:3] for x in lines] == [
        ["0", LATE, "ok"], ["counts", "1", EARLY], ["1", LATE, "lost"],
    ]  # fmt: skip
    assert "auc=0.25" in lines[0]


def test_a_record_of_the_first_generation_is_written_as_it_always_was(local):
    assert b"generation" not in dump(make())
    assert b'"generation":1' in dump(make("ok", 1))


# ---------------------------------------------------------------------- any set of records

ends = st.sampled_from([EARLY, "2026-01-01T00:30:00+00:00", LATE])


@st.composite
def any_records(draw) -> Record:
    status = draw(st.sampled_from(STATUSES))
    error = {"stage": "ab12"} if status == "skipped" and draw(st.booleans()) else {}
    made = draw(st.sampled_from([{}, {"accepted": {"at": EARLY}}, {"accepted": {"at": LATE}}]))
    value = draw(st.none() | st.sampled_from([1.0, 2.0, 3.0]))
    number = draw(st.integers(0, 3))
    return make(status, number, draw(ends), value, error=error, provenance=made)


def order(r: Record) -> tuple:
    """The stated order, said once more."""
    nobodys = r.status == "lost" or (r.status == "skipped" and "stage" in r.error)
    accepted = r.provenance.get("accepted", {}).get("at", "")
    return (not nobodys, r.generation, r.status == "ok", r.ended, accepted)


steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "write", "seal", "heads"]), st.integers(0, 2)), max_size=25
)


@given(st.lists(any_records(), min_size=1, max_size=10), steps)
def test_of_any_records_the_greatest_counts_and_every_number_stays(written, taken):
    url = f"memory://{uuid.uuid4().hex}"
    stores = [Store.open(url) for _ in range(3)]
    todo = list(written)
    with patch.object(segments, "_MANY_SMALL", 2):
        for what, who in [*taken, *[("write", 0)] * len(written), ("seal", 1)]:
            if what == "write" and todo:
                stores[who].write(todo.pop())
            elif what == "seal":
                stores[who].seal(1)
            elif what == "heads":
                stores[who].summaries()
    key = written[0].key
    numbers = {dump(r) for r in written if r.metrics}
    for seen in (*stores, Store.open(url)):
        head = seen.summaries()[key]
        counts = seen.read(key)
        assert order(counts) == max(map(order, written))
        assert (head.status, head.metrics, head.generation) == (
            counts.status, counts.metrics, counts.generation,
        )  # fmt: skip
        shown = seen.history(key)
        assert numbers <= {dump(r) for r in shown} <= {dump(r) for r in written}
        assert counts in [dataclasses.replace(r) for r in shown]
        assert [r.generation for r in shown] == sorted(r.generation for r in shown)
        assert seen.problems == []
