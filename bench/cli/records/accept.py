"""`bench accept`: stale records stand again, by a stated reason or because a sample was run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from bench.cli.console import console, errors, escape
from bench.cli.options import Options, takes
from bench.cli.session import Session
from bench.cli.sweep.run import sweep_plan
from bench.contract import BenchError, Record
from bench.declarations import shard_label
from bench.plan import Plan, PlannedCell, PlannedStage
from bench.store import provenance
from bench.store.committed.layers import Layered, results_folder
from bench.store.provenance import Dependencies
from bench.store.records import Store
from bench.store.upkeep.accepting import RerunStore, differences, restamp, sample, stamped, write_stamped


@takes("profile", "track", "method", "filter", "fresh", "store", "suite", "plugin", "cpus")
def command(
    options: Options,
    key: Annotated[
        list[str] | None, typer.Argument(help="Keys of stale cells, or enough of their beginnings.")
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why the change changes no number; shown on the board.")
    ] = "",
    verify: Annotated[
        int, typer.Option("--verify", min=0, help="Run so many cells of each row and kind of task again.")
    ] = 0,
) -> None:
    """Stamp stale records with today's code, settings, data and stages, after a change that moves no number.

    With --reason the board marks each record with ‡ and shows your reason. With --verify N a sample is run
    again here: if every number is as it was, the others are stamped too, and the board's header says how many
    cells were run; if one number differs, nothing is stamped. Published records are stamped in their files.
    """
    if bool(reason.strip()) == bool(verify):
        raise BenchError(
            "give either --reason (why the change changes no number) or --verify N (run N cells of each row "
            "and kind of task again)"
        )
    if not (key or options.track or options.method or options.filter or verify):
        raise BenchError("say which cells: keys, -t TRACK, -m ROW or -k FILTER")
    session = Session.open(options)
    records = session.layered()
    plan = session.plan(records)
    stale = _stale(plan, records, key or [])
    if not stale:
        console.print("no cell of these is stale: nothing to accept")
        return
    verified: dict[str, Any] = {}
    if verify:
        verified = _verified(session, plan, stale, verify) or {}
        if not verified:
            raise typer.Exit(1)
        # The sample may have built stages anew, which the other cells rest on, so the plan is made again.
        plan = session.plan(records)
        stale = _stale(plan, records, [c.key for c in stale])
    _accept_stages(session.store, plan, stale, reason, verified)
    _accept_cells(session.store, records, stale, reason, verified, options.profile)


def _stale(plan: Plan, records: Store | Layered, starts: Sequence[str]) -> list[PlannedCell]:
    """The stale cells whose record has numbers, each once; if keys are given, only theirs."""
    cells = {c.key: c for c in plan.cells if c.causes and c.summary is not None and c.summary.status == "ok"}
    if not starts:
        return list(cells.values())
    found = []
    for start in starts:
        match = records.match(start)
        if match not in {c.key for c in plan.cells}:
            raise BenchError(
                f"profile {plan.profile} does not plan {match}; name its profile with -p (bench why {match})"
            )
        if match in cells:
            found.append(cells[match])
        else:
            console.print(f"{match} is not stale: nothing to accept")
    return found


# ----------------------------------------------------------------------------------------------- verifying


def _verified(session: Session, plan: Plan, stale: list[PlannedCell], each: int) -> dict[str, Any] | None:
    """Run a sample again. Returns what to stamp the records with, or None if a number differs."""
    able = [c for c in stale if c.state == "stale"]
    if blocked := len(stale) - len(able):
        errors.print(f"[yellow]note[/] {blocked} stale cells cannot run: their data are not here")
    kinds = [((c.cell.track, c.cell.row, c.plan.track.kind(c.task)), c.task.name, c.key) for c in able]
    chosen = set(sample(kinds, each))
    if not chosen:
        raise BenchError("--verify: none of the stale cells can be run here")
    console.print(
        f"{len(stale)} stale cells; {len(chosen)} of them are run again, {each} of each row and kind of task"
    )
    aside = RerunStore.open(session.store.url)
    again = replace(plan, cells=[c for c in able if c.key in chosen])
    here = replace(session, store=aside, options=replace(session.options, local=True))
    sweep_plan(here, again, stale=True)
    if missing := chosen - set(aside.cells):
        console.print(f"{len(missing)} of them did not run to an end: nothing is stamped")
        return None
    wrong = list(_differing(session, again.cells, aside))
    for text in wrong:
        console.print(f"[red]differs[/] {escape(text)}", soft_wrap=True)
    if wrong:
        console.print(f"{len(wrong)} numbers differ: nothing is stamped")
        return None
    made = provenance.commit()
    commit = str(made["commit"])[:7] + ("+changes" if made["dirty"] else "")
    return {"cells": len(stale), "on": len(chosen), "commit": commit, "at": provenance.now()}


def _differing(session: Session, cells: Iterable[PlannedCell], aside: RerunStore) -> Iterable[str]:
    records = session.layered()
    for c in {c.key: c for c in cells}.values():
        old = records.read(c.key)
        assert old is not None
        for words in differences(old, aside.cells[c.key], c.plan.track.metrics):
            yield f"{c.cell} ({c.key}): {words}"


# ------------------------------------------------------------------------------------------------ stamping


def _accept_cells(
    store: Store,
    records: Store | Layered,
    stale: list[PlannedCell],
    reason: str,
    verified: Mapping[str, Any],
    profile: str,
) -> None:
    """Stamp all records of cells in one pass: those of the store there, published ones in their files."""
    own: list[Record] = []
    published: list[Record] = []
    codes = {code.name: code for c in stale if c.dependencies is not None for code in c.dependencies.codes}
    for c in stale:
        record = records.read(c.key)
        assert record is not None
        assert c.dependencies is not None
        layer = c.summary is not None and bool(c.summary.layer)
        today = replace(c.dependencies, stages={}) if layer else c.dependencies
        made = stamped(record, today, reason=reason, verified=verified)
        (published if layer else own).append(made)
    write_stamped(store, own, codes.values() if own else ())
    files = restamp(results_folder() / profile, published, codes.values())
    on = f"verified on {verified['on']}" if verified else f"accepted: {escape(reason.strip())}"
    parts = [f"{len(own)} in {store.url}"] if own else []
    parts += [f"{len(published)} published ({', '.join(f.name for f in files)})"] if published else []
    console.print(f"{len(stale)} cells stamped, {on}: {escape('; '.join(parts))}", soft_wrap=True)


def _accept_stages(
    store: Store, plan: Plan, stale: list[PlannedCell], reason: str, verified: Mapping[str, Any]
) -> None:
    """Stamp the stale shards of stages that these cells read, so that no cell is stale for them any more."""
    wanted = {k for c in stale for k in c.reads}
    done = 0
    for planned in plan.stages.values():
        if planned.key in wanted and planned.state == "stale":
            done += _accept_stage(store, planned, reason, verified)
    if done:
        console.print(f"{done} stale shards of stages stamped with them")


def _accept_stage(store: Store, planned: PlannedStage, reason: str, verified: Mapping[str, Any]) -> int:
    record = store.read(planned.key)
    if record is None or record.status != "ok" or planned.code is None:
        return 0
    found = {s.name: store.artifacts.stage_digest(s) for s in planned.stage.stages}
    reads = {name: digest for name, digest in found.items() if digest}
    today = Dependencies(code=planned.code, stages=reads)
    made = stamped(record, today, reason=reason, verified=verified)
    write_stamped(store, [made], [planned.code])
    console.print(f"stage {shard_label(planned.stage, planned.shard)} accepted")
    return 1
