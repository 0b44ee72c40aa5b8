"""The live view of a sweep: what runs, what ended how, and when it will be over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cli.console import console, duration

if TYPE_CHECKING:
    from bench.engine.sweep import Ended, Sweep

_STYLES = {"ok": "green", "skipped": "dim", "lost": "magenta"}
PLAIN_EVERY_S = 30.0


class Progress:
    """Shows a sweep: a view that is redrawn on a terminal, and in a log file a line every half minute."""

    def __init__(self, workers: float, live: Live | None) -> None:
        self.workers, self.live, self.printed, self.last = workers, live, 0, time.monotonic()
        self.told = set[str]()

    def __call__(self, sweep: Sweep) -> None:
        """Show the sweep as it is now; the engine calls this whenever something changed."""
        for text in left_out(sweep, self.told):
            console.print(Text("left out ", style="yellow").append(text, style="default"))
        for e in sweep.ended[self.printed :]:
            if e.status != "ok" or self.live is None:
                console.print(_line(e))
        self.printed = len(sweep.ended)
        if self.live is not None:
            self.live.update(self._view(sweep))
        elif time.monotonic() - self.last > PLAIN_EVERY_S:
            self.last = time.monotonic()
            console.print(self._sentence(sweep))

    def _sentence(self, sweep: Sweep) -> str:
        if sweep.stopped or sweep.interrupt.is_set():
            why = sweep.stopped or "interrupted"
            return f"{len(sweep.ended)}/{sweep.total} done; stopping ({why}), cells under way stay new"
        left = sweep.remaining_s(self.workers)
        eta = f"about {duration(left)} left" if left is not None else "no estimate yet"
        return f"{len(sweep.ended)}/{sweep.total} done, {duration(sweep.spent_s())} spent, {eta}"

    def _view(self, sweep: Sweep) -> Group:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(max(1, sweep.total), len(sweep.ended), width=30),
            self._sentence(sweep),
            _counts(sweep),
        )
        running = Table.grid(padding=(0, 2))
        for unit, spent in sweep.running()[:12]:
            again = f"attempt {unit.attempt}" if unit.attempt > 1 else ""
            running.add_row("  ▸", Text(unit.label), duration(spent), again)
        held = [Text(f"  {sweep.held}", style="dim")] if sweep.held else []
        return Group(bar, *held, running)


def left_out(sweep: Sweep, told: set[str]) -> list[str]:
    """What a sweep leaves out that is not in ``told`` yet, to which it is added: a line for each node that
    gets no cells, and one for each reason for which no machine is large enough for cells.
    """
    nodes = [text for node, text in sweep.left_out.items() if node not in told]
    cells = Counter(t.partition(" needs ")[2] for key, t in sweep.too_large.items() if key not in told)
    told |= sweep.left_out.keys() | sweep.too_large.keys()
    return [*nodes, *(f"{n} cells or stages that need {why}" for why, n in cells.items())]


def _counts(sweep: Sweep) -> Text:
    counted = Counter(e.status for e in sweep.ended)
    text = Text()
    for status, n in counted.items():
        text.append(f"{n} {status} ", style=_STYLES.get(status, "red"))
    return text


def _line(e: Ended) -> Text:
    text = Text(f"{e.status:>8} ", style=_STYLES.get(e.status, "red"))
    text.append(f"{e.unit.label}  {duration(e.seconds)}", style="default")
    return text.append(f"  {e.reason}  [{e.unit.key}]" if e.status != "ok" else "", style="dim")


@contextmanager
def watching(workers: float) -> Iterator[Progress]:
    """A `Progress` that shows a sweep as long as the block runs."""
    if not console.is_terminal:
        yield Progress(workers, None)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Progress(workers, live)
