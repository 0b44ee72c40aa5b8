"""Several drivers on one store: who of them does a unit, and what became of one that another did.

A driver holds the lease of each unit that it has handed out, from before it starts until its record is seen
in the store, also while the unit is tried again elsewhere. Its workers hold nothing, so one that is lost with
its node leaves nothing behind.
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
from bench.store.lease import Lease
from bench.store.summaries import RecordSummary
from bench.store.records import Store
from bench.store.files import StoreError

#: How long a unit that another driver has is left alone before it is asked for again.
LOOK_S = 1.0


class Claims:
    """The leases of one driver, and what it knows of the store's records."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[str, Lease] = {}
        self._asked: dict[str, tuple[Lease, float]] = {}
        self._heads: Mapping[str, RecordSummary] = {}

    def ask(self, unit: Unit) -> RecordSummary | bool:
        """True: this driver has the unit from now on, and nobody else does it. False: another driver has it.
        A head: another driver did it since it was planned, and this is how it ended.

        Raises:
            StoreError: the store cannot be read or written.
        """
        if unit.key in self._held:
            return True  # it is tried again: its node was lost
        if (head := self._ended(unit)) is not None:
            return head
        if not self._take(unit.key):
            return False
        self._heads = self._store.fresh()
        if (head := self._ended(unit)) is not None:
            self.give(unit.key)
            return head
        return True

    def built(self, unit: Unit) -> dict[str, float]:
        """Seconds that building took, of the stages that a unit may read and that have a record."""
        return {k: h.cost.get("run_s", 0.0) for k in unit.stages if (h := self._heads.get(k)) is not None}

    def give(self, key: str) -> None:
        """Let go of a unit, ended or not."""
        if (lease := self._held.pop(key, None)) is not None:
            with suppress(
                StoreError
            ):  # nothing is lost: a lease ends with its process, or by not being renewed
                lease.release()

    def close(self) -> None:
        """Let go of all."""
        for key in list(self._held):
            self.give(key)

    def _take(self, key: str) -> bool:
        lease, last = self._asked.pop(key, (None, -LOOK_S))
        lease = lease or self._store.artifacts.lease(key)
        if time.monotonic() - last >= LOOK_S:
            if lease.hold():
                self._held[key] = lease
                return True
            last = time.monotonic()
        self._asked[key] = lease, last
        return False

    def _ended(self, unit: Unit) -> RecordSummary | None:
        """The record of a unit that counts and that the plan did not see; an end that is nobody's counts as
        none.
        """
        head = self._heads.get(unit.key)
        if head is None or head.ended == unit.seen or head.status in ("lost", "skipped"):
            return None
        stage = unit.job.kind == "stage" and head.status == "ok"
        if stage and not self._store.artifacts.has_shard(unit.job.address, unit.job.shard):
            return None
        return head


def run_unit_alone(unit: Unit, pool: ForkServer, store: Store) -> Record | None:
    """Do one unit outside of a sweep, or wait for another driver that does it, and return its record."""
    claims = Claims(store)
    try:
        while (asked := claims.ask(unit)) is False:
            time.sleep(LOOK_S / 5)
        if asked is not True:
            return store.read(unit.key)
        return do(replace(unit, built=claims.built(unit)), pool, store)
    finally:
        claims.close()
