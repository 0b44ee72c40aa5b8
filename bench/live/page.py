"""The live page: one HTML file without scripts, which a browser loads anew by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.live.facts import EVERY_S, Driver
from bench.live.overview import MARKS, Overview
from bench.live.words import duration

if TYPE_CHECKING:
    from jinja2 import Template


def render(view: Overview) -> str:
    """The page of an overview. What records and errors say is escaped: they come from anybody."""
    now = datetime.now(UTC)
    return _template().render(
        view=view,
        title=f"gridbench · {view.profile}",
        every=int(EVERY_S),
        made=now.strftime("%Y-%m-%d %H:%M:%S UTC"),
        marks=MARKS,
        spent=spent(view),
        sentences={d.name: sentence(d, now) for d in view.drivers},
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        autoescape=True,
    )
    env.filters["duration"] = duration
    return env.get_template("status.html.j2")


def spent(view: Overview) -> str:
    """What was spent so far, in words."""
    own = view.own
    words = f"spent so far: {duration(own.worker_h * 3600)} of worker time over {own.records} records"
    if own.gpu_h:
        words += f", {own.gpu_h:.1f} GPU-hours"
    if view.cost is not None and own.gpu_h:
        words += f", about {view.cost:.2f} at this rate"
    if view.published.records:
        elsewhere = duration(view.published.worker_h * 3600)
        words += f"; {elsewhere} over {view.published.records} published ones, elsewhere"
    return words


def sentence(d: Driver, now: datetime) -> str:
    """What a driver does, in words."""
    counts = ", ".join(f"{n} {s}" for s, n in d.counts.items())
    done = f"{d.done} of {d.total} done" + (f" ({counts})" if counts else "")
    if d.ended:
        return f"{done}; ended {duration(d.age_s(now))} ago: {d.ended}"
    if not d.alive(now):
        return f"{done}; not heard of for {duration(d.age_s(now))}: it may be gone"
    words = f"{done}, {len(d.running)} run, {d.waiting} wait; {duration(d.spent_s)} spent, "
    words += f"about {duration(d.eta_s)} left" if d.eta_s is not None else "no estimate yet"
    words += f"; {d.held}" if d.held else ""
    return words + (f"; stopping ({d.stopping})" if d.stopping else "")
