"""The facts that a driver leaves in the store while it runs a sweep: ``live/<driver>.json``.

They come from other machines and other versions, so what is not of their shape is left out when it is read.
"""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
from pydantic import TypeAdapter, ValidationError

from bench.store import provenance
from bench.store.files import Files, StoreError, open_files

if TYPE_CHECKING:
    from bench.engine.sweep import Sweep

#: How often a driver writes its facts, and after how long without it counts as gone (seconds).
EVERY_S, GONE_S = 10.0, 60.0
#: Facts of drivers that were last heard of so long ago are removed.
KEPT_S = 24 * 3600.0
FOLDER, PAGE = "live", "live/status.html"
#: The most running cells, notes and left-out cells that are listed.
MOST = 200


@dataclass(frozen=True, slots=True)
class Running:
    """A cell or stage that runs: on which ``node`` ("": not known), for how many ``seconds``."""

    key: str
    label: str
    node: str
    seconds: float
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What one driver does. Times are as `bench.store.provenance.now` writes them.

    ``at``: when this was written. ``total``, ``done``, ``waiting``: cells and stages of its sweep;
    ``counts``: status -> number of those that ended. ``eta_s``: seconds that are left, None if there is no
    estimate yet; ``spent_s``: seconds since it started. ``stopping``: why it starts nothing more;
    ``ended``: how it ended, "" while it runs. ``left_out``: nodes that get no cells, and cells that no
    machine can run, with the cause. ``held``: for which cell others are held back, "" if for none.
    """

    name: str
    profile: str
    started: str
    at: str
    total: int
    done: int
    waiting: int
    counts: Mapping[str, int] = field(default_factory=dict)
    running: tuple[Running, ...] = ()
    eta_s: float | None = None
    spent_s: float = 0.0
    stopping: str = ""
    ended: str = ""
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    held: str = ""

    def age_s(self, now: datetime | None = None) -> float:
        """Seconds since it was written, by this machine's clock."""
        return ((now or datetime.now(UTC)) - datetime.fromisoformat(self.at)).total_seconds()

    def alive(self, now: datetime | None = None) -> bool:
        """Whether it runs, as far as can be told."""
        return not self.ended and self.age_s(now) < GONE_S


def driver_name() -> str:
    """The name of this process as a driver: host and process."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{platform.node()}-{os.getpid()}").strip("-")[-60:]


def facts(sweep: Sweep, name: str, profile: str, started: str, workers: float) -> Driver:
    """What a driver does now. Called where nobody changes the sweep meanwhile."""
    running = [
        Running(u.key, u.label, sweep.nodes.get(u.key, ""), round(spent, 1), u.attempt)
        for u, spent in sweep.running()[:MOST]
    ]
    left = sweep.remaining_s(workers)
    return Driver(
        name=name,
        profile=profile,
        started=started,
        at=provenance.now(),
        total=sweep.total,
        done=len(sweep.ended),
        waiting=len(sweep.waiting),
        counts=dict(Counter(e.status for e in sweep.ended)),
        running=tuple(running),
        eta_s=None if left is None else round(left, 1),
        spent_s=round(sweep.spent_s(), 1),
        stopping=sweep.stopped or ("interrupted" if sweep.interrupt.is_set() else ""),
        notes=tuple(sweep.notes[:MOST]),
        left_out=(*sweep.left_out.values(), *sweep.too_large.values())[:MOST],
        held=sweep.held,
    )


_SHAPE: TypeAdapter[Driver] = TypeAdapter(Driver)


class LiveFiles:
    """The live files of a store, opened apart from its records, so that neither waits for the other."""

    def __init__(self, url: str) -> None:
        self._files: Files = open_files(url)
        self.place = f"{self._files.url}/{PAGE}"

    def write(self, driver: Driver) -> None:
        """Write the facts of a driver; `StoreError` if that is not possible."""
        self._files.write(f"{FOLDER}/{driver.name}.json", orjson.dumps(asdict(driver)))

    def write_page(self, text: str) -> None:
        """Write the page; `StoreError` if that is not possible."""
        self._files.write(PAGE, text.encode())

    def drivers(self) -> list[Driver]:
        """What drivers of this store do or did last, those that were heard of last first.

        Raises:
            StoreError: the store cannot be read.
        """
        out = []
        try:
            names = [f"{FOLDER}/{n}" for n in self._files.names(FOLDER) if n.endswith(".json")]
            for _, data in self._files.read_many(names):
                try:
                    found = _SHAPE.validate_json(data or b"")
                    found.age_s()
                except (ValidationError, ValueError, TypeError):
                    continue
                out.append(found)
        except OSError as e:
            raise StoreError(f"cannot read {self._files.url}/{FOLDER}: {e}") from e
        return sorted(out, key=lambda d: d.at, reverse=True)

    def forget(self) -> None:
        """Remove the facts of drivers that were last heard of long ago."""
        old = [f"{FOLDER}/{d.name}.json" for d in self.drivers() if d.age_s() > KEPT_S]
        try:
            self._files.remove(old)
        except OSError as e:
            raise StoreError(f"cannot remove {old[0]}: {e}") from e


def last_words(driver: Driver, how: str) -> Driver:
    """The facts of a driver at its end."""
    return replace(driver, at=provenance.now(), running=(), eta_s=None, held="", ended=how)
