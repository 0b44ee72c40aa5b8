"""Writes what a driver does into its store every few seconds, beside the sweep and never in its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.contract import BenchError
from bench.live.facts import EVERY_S, Driver, LiveFiles, driver_name, facts, last_words
from bench.live.overview import overview
from bench.live.page import render
from bench.store import provenance

if TYPE_CHECKING:
    from bench.engine.sweep import Sweep
    from bench.plan import Plan
    from bench.store.summaries import Readable


class LiveWriter:
    """Takes the state of a sweep when the engine says that something changed, at most every `EVERY_S`
    seconds, and writes it from a thread of its own. ``problem``: why that failed last, "" if it did not.
    """

    def __init__(
        self, plan: Plan, records: Callable[[], Readable], url: str, workers: float, rate: float | None
    ) -> None:
        self.plan, self.records, self.workers, self.rate = plan, records, workers, rate
        self.files = LiveFiles(url)
        self.name, self.started = driver_name(), provenance.now()
        self.problem = ""
        self._last = -EVERY_S
        self._driver: Driver | None = None
        self._changed, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="live")

    def __call__(self, sweep: Sweep) -> None:
        """Take the state of the sweep, if it is time."""
        if time.monotonic() - self._last >= EVERY_S:
            self._last = time.monotonic()
            self._driver = facts(sweep, self.name, self.plan.profile, self.started, self.workers)
            self._changed.set()

    def start(self) -> None:
        """Begin to write."""
        self._try(self.files.forget)
        self._thread.start()

    def close(self, sweep: Sweep | None, how: str) -> None:
        """Write how the sweep ended, and the last page."""
        self._closed.set()
        self._changed.set()
        self._thread.join()
        if sweep is not None:
            self._driver = facts(sweep, self.name, self.plan.profile, self.started, self.workers)
        if self._driver is not None:
            self._driver = last_words(self._driver, how)
            self._try(self._write)

    def _work(self) -> None:
        while not self._closed.is_set():
            self._changed.wait()
            self._changed.clear()
            if not self._closed.is_set():
                self._try(self._write)

    def _write(self) -> None:
        assert self._driver is not None
        self.files.write(self._driver)
        drivers = self.files.drivers()
        self.files.write_page(render(overview(self.plan, self.records(), drivers, self.rate)))

    def _try(self, do: Callable[[], None]) -> None:
        """Do something that may fail: a page that cannot be written is no reason to end a sweep."""
        try:
            do()
            self.problem = ""
        except (BenchError, OSError) as e:
            self.problem = str(e)


@contextmanager
def writing(
    plan: Plan, records: Callable[[], Readable], url: str, workers: float, rate: float | None = None
) -> Iterator[LiveWriter]:
    """A writer that runs as long as the block does."""
    writer = LiveWriter(plan, records, url, workers, rate)
    writer.start()
    try:
        yield writer
    except BaseException as e:
        writer.close(None, f"{type(e).__name__}: {e}".partition("\n")[0][:300])
        raise
