"""`bench rerun KEY`: run one cell again and compare its numbers."""

from __future__ import annotations

from bench.cli.console import console, duration, escape
from bench.cli.options import Options, takes
from bench.cli.records.why import KeyArgument, find, plans
from bench.cli.session import Session, records_of_all_profiles
from bench.contract import BenchError


@takes("store", "suite", "plugin")
def command(options: Options, key: KeyArgument) -> None:
    """Run one cell again on this machine, show its numbers beside the old ones, and record them."""
    from bench.engine.execute import units
    from bench.engine.forkserver import ForkServer
    from bench.engine.leases import run_unit_alone
    from bench.store.committed.writing import as_published

    session = Session.open(options)
    records = records_of_all_profiles(session.store, options)
    match = records.match(key)
    published = bool(records.summaries()[match].layer)
    old = records.read(match)
    planned = find(session, match)
    if planned is None:
        raise BenchError(
            f"no profile plans {match} today, so it cannot be run again; bench why {match} says more"
        )
    found = plans(session, session.store, planned.plan.profile)
    plan, cell = next((p, c) for p in found for c in p.cells if c.key == match)
    server = ForkServer(planned.plan.track.preload)
    server.start()
    new = None
    for unit in units(plan, [cell], session.registry, failed=True)[0]:
        console.print(f"running {escape(unit.label)}")
        new = run_unit_alone(unit, server, session.store)
    assert new is not None
    console.print(f"{new.status} in {duration(new.cost.get('run_s', 0.0))} {escape(new.reason)}")
    before = dict(old.metrics) if old else {}
    costs = {m.name for m in planned.plan.track.metrics if m.kind == "cost"}
    for name in dict.fromkeys([*before, *new.metrics]):
        a, b = before.get(name), new.metrics.get(name)
        same = a == (as_published(b) if published else b)
        verdict = "same" if same else "differs, a cost" if name in costs else "[yellow]differs[/]"
        console.print(f"  {name:18} {a!s:>22} {b!s:>22}  {verdict}")
