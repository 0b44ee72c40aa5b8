"""Several drivers on one store: which of them runs a unit, and what became of a unit that another one ran.

A driver holds the lease of each unit that it has started, from the moment that there is a place for it until
the record is seen in the store, also while the unit is tried again elsewhere. What only waits for a place is
anybody's. Its workers hold no lease, so a worker that is lost with its node leaves none behind.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from bench.contract import Record
from bench.engine.forkserver import ForkServer
from bench.engine.job import Unit
from bench.engine.worker import run_unit
from bench.store.files import StoreError
from bench.store.lease import Lease
from bench.store.records import Store
from bench.store.summaries import RecordSummary

#: Seconds between two attempts to claim a unit whose lease another driver holds.
RETRY_S = 1.0


class Leases:
    """The leases of one driver, and what it last read of the store's records."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, Lease] = {}
        self._refused: dict[str, tuple[Lease, float]] = {}
        self._summaries: Mapping[str, RecordSummary] = {}

    def claim(self, unit: Unit) -> RecordSummary | bool:
        """Claim a unit for this driver.

        Returns:
            True: this driver holds the lease now and no other driver runs the unit. False: another driver
            holds it. A summary: another driver has run the unit since it was planned, and this is its record.

        Raises:
            StoreError: the store cannot be read or written.
        """
        if unit.key in self._held:
            return True  # it is tried again: its node was lost
        if (ended := self._ended(unit)) is not None:
            self._refused.pop(unit.key, None)
            return ended
        if not self._acquire(unit.key):
            return False
        self._summaries = self._store.fresh()
        if (ended := self._ended(unit)) is not None:
            self.release(unit.key)
            return ended
        return True

    def refused(self, key: str) -> bool:
        """Whether another driver held the lease of a unit when it was last asked for."""
        return key in self._refused

    def built(self, unit: Unit) -> dict[str, float]:
        """Shard key -> seconds that building took, of the stages that a unit may read and that
        have a record.
        """
        known = {k: s for k in unit.stages if (s := self._summaries.get(k)) is not None}
        return {k: s.cost.get("run_s", 0.0) for k, s in known.items()}

    def release(self, key: str) -> None:
        """Release the lease of a unit, whether or not it has ended."""
        if (lease := self._held.pop(key, None)) is not None:
            # Nothing is lost if it cannot be released: a lease that is not renewed expires.
            with suppress(StoreError):
                lease.release()

    def close(self) -> None:
        """Release all leases."""
        for key in list(self._held):
            self.release(key)

    def _acquire(self, key: str) -> bool:
        lease, last = self._refused.pop(key, (None, -RETRY_S))
        lease = lease or self._store.artifacts.lease(key)
        if time.monotonic() - last >= RETRY_S:
            if lease.hold():
                self._held[key] = lease
                return True
            last = time.monotonic()
        self._refused[key] = lease, last
        return False

    def _ended(self, unit: Unit) -> RecordSummary | None:
        """The record of a unit that was written since it was planned, None if there is none that says
        something of the unit (``lost`` and ``skipped`` do not).
        """
        found = self._summaries.get(unit.key)
        if found is None or found.ended == unit.seen or found.status in ("lost", "skipped"):
            return None
        stage = unit.job.kind == "stage" and found.status == "ok"
        if stage and not self._store.artifacts.has_shard(unit.job.address, unit.job.shard):
            return None
        return found


def run_unit_alone(unit: Unit, server: ForkServer, store: Store) -> Record | None:
    """Run one unit outside of a sweep, or wait for another driver that runs it, and return its record."""
    leases = Leases(store)
    try:
        while (claimed := leases.claim(unit)) is False:
            time.sleep(RETRY_S / 5)
        if claimed is not True:
            return store.read(unit.key)
        return run_unit(replace(unit, built=leases.built(unit)), server, store)
    finally:
        leases.close()
