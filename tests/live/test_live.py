"""What a driver leaves in the store while it runs, the picture that is made of it, and the page."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from polling import beside, wait_for

from bench.engine.execute import execute
from bench.engine.sweep import Sweep
from bench.live import writer
from bench.live.facts import Driver, LiveFiles, Running, facts, last_words
from bench.live.overview import overview
from bench.live.page import render, sentence, spent
from bench.live.writer import writing


def driver(**changed):
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    made = Driver(name="host-1", profile="laptop", started=now, at=now, total=10, done=4, waiting=3)
    return replace(made, **changed)


def ago(seconds):
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="microseconds")


# ---------------------------------------------------------------------------------------------------- facts


def test_facts_come_back_from_the_store_and_old_ones_go(tmp_path):
    files = LiveFiles(str(tmp_path))
    assert files.drivers() == []
    one = driver(
        running=(Running("k", "a cell", "node-1", 3.5),), notes=("memory is scarce",), counts={"ok": 4}
    )
    gone = driver(name="host-2", at=ago(120))
    old = driver(name="host-3", at=ago(2 * 24 * 3600))
    for d in (old, gone, one):
        files.write(d)
    assert files.drivers() == [one, gone, old], "those that were heard of last come first"
    assert [d.alive() for d in files.drivers()] == [True, False, False]
    files.forget()
    assert files.drivers() == [one, gone]
    assert not last_words(one, "nothing is left to run").alive()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 3}', '{"at": "yesterday"}'])
def test_what_is_no_fact_is_left_out(tmp_path, text):
    files = LiveFiles(str(tmp_path))
    files.write(driver())
    (tmp_path / "live" / "odd.json").write_text(text)
    broken = json.loads((tmp_path / "live" / "host-1.json").read_text()) | {"at": "yesterday"}
    (tmp_path / "live" / "other.json").write_text(json.dumps(broken))
    assert [d.name for d in files.drivers()] == ["host-1"]


def test_facts_of_a_sweep_are_what_it_does(sandbox):
    from bench.engine.execute import units

    sandbox.use("slow").of("slow", grid={"cells": 3})
    plan = sandbox.plan("sleeps")
    sweep = Sweep(sandbox.store(), units(plan, plan.cells, sandbox.registry(), failed=False)[0])
    unit = sweep.next()
    sweep.began(unit.key, "node-7")
    sweep.left_out["id"], sweep.held = "node a: no room", "a node is kept free for x"
    sweep.too_large["x"] = "a cell needs gpu 8"
    d = facts(sweep, "me", "laptop", ago(5), 1)
    assert (d.total, d.done, d.waiting, d.eta_s) == (3, 0, 2, None)
    assert [(r.key, r.node, r.attempt) for r in d.running] == [(unit.key, "node-7", 1)]
    assert (d.left_out, d.held) == (("node a: no room", "a cell needs gpu 8"), "a node is kept free for x")
    sweep.done(unit.key, "ok")
    sweep.stop("the budget is used up")
    d = facts(sweep, "me", "laptop", ago(5), 1)
    assert (d.done, d.counts, d.stopping) == (1, {"ok": 1}, "the budget is used up")
    sweep.leases.close()


# ------------------------------------------------------------------------------------------------- overview


@pytest.fixture
def half_done(grids):
    """A plan of which cells ran since it was made."""
    plan = grids.plan()
    grids.run("single", "small")
    return grids, plan


def by_cell(view):
    (matrix,) = view.matrices
    return {
        (row, task): "".join(m.status[0] if not m.alias else "=" for m in cells)
        for row, of in matrix.rows.items()
        for task, cells in zip(matrix.tasks, of, strict=True)
    }


def test_records_that_came_since_the_plan_count(half_done):
    grids, plan = half_done
    waiting = next(c for c in plan.cells if c.row == "multi/shared")
    alive = driver(running=(Running(waiting.key, "x", "", 1.0),))
    view = overview(plan, grids.store(), [alive, driver(name="gone", at=ago(999), running=alive.running)])
    marks = by_cell(view)
    assert marks["single", "flights-1x"] == "oo"
    assert marks["multi/dnn", "flights-1x"] == "=="
    assert marks["prior", "flights-4x"] == "n"
    assert marks["small", "flights-4x"] == "ss"
    assert marks["multi/shared", waiting.task.name] == "rn"
    assert view.counts["running"] == 1


def test_hours_are_counted_with_gpus_and_cost_by_the_rate(half_done):
    grids, plan = half_done
    store = grids.store()
    for r in grids.records():
        cost = {"run_s": 1800.0, "score_s": 1800.0} if r.status == "ok" else {}
        gpu = 2 if r.cell["row"] == "single" else 0
        store.write(replace(r, cost=cost, limits={**r.limits, "gpu": gpu}, ended="2999-01-01T00:00:00+00:00"))
    view = overview(plan, store, [], rate=3.0)
    ok = [r for r in grids.records() if r.status == "ok"]
    single = [r for r in ok if r.cell["row"] == "single"]
    assert view.own.worker_h == len(ok)
    assert view.own.gpu_h == 2 * len(single)
    assert view.cost == 6.0 * len(single)
    assert f"{2 * len(single):.1f} GPU-hours, about {6.0 * len(single):.2f} at this rate" in spent(view)
    assert overview(plan, store, []).cost is None
    other = next(c for c in plan.cells if c.row == "multi/shared")
    busy = driver(running=(Running(other.key, "x", "", 7200.0),))
    assert overview(plan, store, [busy]).own.worker_h == len(ok) + 2, "what runs counts so far"


def test_failures_come_with_their_last_lines_and_the_newest_first(sandbox):
    sandbox.use("faults").of("faults")
    plan = sandbox.plan("raises", "infinite")
    sandbox.run("raises", "infinite")
    view = overview(plan, sandbox.store(), [])
    assert {f.status for f in view.failures} == {"failed", "diverged"}
    raised = next(f for f in view.failures if f.status == "failed")
    assert raised.why == "ValueError: this <b>method</b> is broken"
    assert "ValueError: this <b>method</b> is broken" in raised.lines[-1]
    assert len(raised.lines) <= 6
    assert overview(plan, sandbox.store(), [], failures=1).more_failures == 1


# ----------------------------------------------------------------------------------------------------- page


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)


def test_the_page_shows_all_of_it_and_escapes_what_strangers_say(sandbox):
    sandbox.use("faults").of("faults")
    plan = sandbox.plan("raises")
    sandbox.run("raises")
    busy = driver(
        running=(Running("k", "<i>cell</i>", "node <7>", 75.0, attempt=2),), notes=("<script>x</script>",),
        left_out=("a cell needs gpu 8",), eta_s=600.0,
    )  # fmt: skip
    page = render(overview(plan, sandbox.store(), [busy, driver(name="gone", at=ago(300))]))
    tags = Tags()
    tags.feed(page)
    assert not {"script", "b"} & set(tags.seen)
    for words in (
        "this &lt;b&gt;method&lt;/b&gt; is broken", "node &lt;7&gt;", "attempt 2",
        "left out: a cell needs gpu 8", "about 10.0 min left", "not heard of for 5.0 min",
        'http-equiv="refresh" content="10"',
    ):  # fmt: skip
        assert words in page, words
    assert not re.search(r'(src|href)="', page), "it needs no second file"


def test_a_driver_is_told_in_a_sentence():
    now = datetime.now(UTC)
    assert sentence(driver(counts={"ok": 3, "failed": 1}), now).startswith(
        "4 of 10 done (3 ok, 1 failed), 0 run, 3 wait"
    )
    assert sentence(driver(held="a node is kept free for x"), now).endswith("; a node is kept free for x")
    assert sentence(driver(stopping="asked to stop"), now).endswith("; stopping (asked to stop)")
    assert "ended" in sentence(last_words(driver(), "interrupted"), now)


# --------------------------------------------------------------------------------------------------- writer


def test_a_page_is_there_while_a_sweep_runs_and_after_it(sandbox, monkeypatch):
    monkeypatch.setattr(writer, "EVERY_S", 0.0)
    go, log = sandbox.folder / "go", sandbox.folder / "log"
    run = {"seconds": 0.0, "log": str(log), "until": str(go)}
    sandbox.use("slow").of("slow", grid={"cells": 2}, run=run)
    plan, store = sandbox.plan("sleeps"), sandbox.store()
    page = sandbox.store_folder / "live" / "status.html"
    files, during = LiveFiles(store.url), []

    def look():
        try:
            wait_for(
                lambda: page.exists() and "▶ running 1" in page.read_text(), "the page shows a running cell"
            )
            during.extend(files.drivers())
        finally:
            go.touch()

    with beside(look), writing(plan, lambda: store, store.url, 1) as live:
        sweep = execute(plan, sandbox.registry(), store, local=True, cpus=1, on_change=live)
        live.close(sweep, "nothing is left to run")
    assert live.problem == ""
    assert [(d.total, d.alive(), len(d.running)) for d in during] == [(2, True, 1)]
    assert during[0].running[0].node, "a local driver knows its node"
    (after,) = files.drivers()
    assert (after.done, after.ended, after.running) == (2, "nothing is left to run", ())
    assert "■ ok 2" in page.read_text()


def test_a_store_that_takes_no_page_does_not_end_a_sweep(sandbox, monkeypatch):
    from bench.store.files import StoreError

    def refuse(self, *words):
        raise StoreError("no room")

    monkeypatch.setattr(LiveFiles, "write", refuse)
    sandbox.use("grids").of("grids", grid={"scales": [4]})
    plan, store = sandbox.plan("prior"), sandbox.store()
    with writing(plan, lambda: store, store.url, 1) as live:
        sweep = execute(plan, sandbox.registry(), store, local=True, on_change=live)
        live.close(sweep, "nothing is left to run")
    assert live.problem == "no room"
    assert [e.status for e in sweep.ended] == ["ok"]


def test_a_driver_that_raises_says_how_it_ended(sandbox):
    sandbox.use("grids").of("grids", grid={"scales": [4]})
    plan, store = sandbox.plan("prior"), sandbox.store()

    def run():
        with writing(plan, lambda: store, store.url, 1) as live:
            live(Sweep(store, []))
            raise RuntimeError("out of luck\nand more")

    with pytest.raises(RuntimeError):
        run()
    (last,) = LiveFiles(store.url).drivers()
    assert last.ended == "RuntimeError: out of luck"
