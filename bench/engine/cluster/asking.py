"""Asks the nodes of a Ray cluster what `rollcall.py` wants to know, and keeps which of them may run cells."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.contract import BenchError
from bench.engine.cluster.rollcall import (
    Answer,
    Question,
    Verdict,
    answer,
    of_error,
    question,
    token_of,
    verdict,
)
from bench.engine.job import Unit
from bench.store.files import StoreError, open_files

#: How long a node may take to answer: it starts a Python, and opens the store and the data.
ANSWER_S = 120.0
#: How long the first cells wait for the other nodes once one may run them.
OTHERS_S = 15.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question under way: to which node (its id and its name), and when, by the clock that may be set and
    by the steady one.
    """

    node: str
    host: str
    sent: float
    since: float


class RollCall:
    """The nodes of one sweep.

    ``approved``: ids of those that may run cells; ``left_out``: id -> name, cause and what helps; ``notes``:
    what is told of others; ``gpu_gb``: id -> memory of its smallest GPU, where it is known.
    """

    def __init__(self, units: Sequence[Unit], store: str) -> None:
        self.approved, self.left_out = set[str](), dict[str, str]()
        self.notes, self.gpu_gb = list[str](), dict[str, float]()
        self._asked, self._question = dict[Any, _Asked](), question(units, store, ray.__version__)
        self._files, self._written = open_files(store), [self._question.path]
        self._files.write(self._question.path, self._question.token.encode())
        self._reference = ray.put(self._question)

    def ask(self, nodes: Iterable[tuple[str, str]]) -> None:
        """Ask nodes, given by id and name, that were not asked yet."""
        known = self.approved | self.left_out.keys() | {a.node for a in self._asked.values()}
        for node, host in nodes:
            if node not in known:
                there = NodeAffinitySchedulingStrategy(node, soft=False)
                reference = _answer.options(scheduling_strategy=there).remote(self._reference, node)
                self._asked[reference] = _Asked(node, host, _clock(), time.monotonic())

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Read the answers that have come; returns whether there were any."""
        if not self._asked:
            return False
        ready, _ = ray.wait(list(self._asked), num_returns=1, timeout=timeout_s)
        late = [r for r, a in self._asked.items() if time.monotonic() - a.since > ANSWER_S and r not in ready]
        for reference in ready:
            self._judge(self._asked.pop(reference), reference)
        for reference in late:
            asked = self._asked.pop(reference)
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)
            why = f"no answer within {ANSWER_S:g} s: see the log of its raylet, or take it out of the cluster"
            self.left_out[asked.node] = f"node {asked.host}: {why}"
        return bool(ready or late)

    def first(self, interrupt: threading.Event) -> None:
        """Wait for the nodes that were asked: for one that may run cells, and a while longer for the others.
        ``interrupt`` ends the waiting.

        Raises:
            BenchError: no node may run cells.
        """
        until = None
        while self._asked and (until is None or time.monotonic() < until) and not interrupt.is_set():
            self.poll(0.5)
            if self.approved and until is None:
                until = time.monotonic() + OTHERS_S
        if self.left_out and not self.approved:
            raise BenchError("no node of the cluster can run cells:\n" + "\n".join(self.left_out.values()))

    def _judge(self, asked: _Asked, reference: Any) -> None:
        try:
            said: Answer = ray.get(reference)
        except ray.exceptions.RayError as error:
            self.left_out[asked.node] = f"node {asked.host}: {of_error(error)}"
            return
        found = verdict(self._question, said, asked.sent, _clock(), self._token_seen(asked.node))
        self._decide(asked.node, said, found)

    def _decide(self, node: str, said: Answer, found: Verdict) -> None:
        self.notes += found.notes
        if found.fault:
            self.left_out[node] = f"node {said.host}: {found.fault}"
            return
        self.approved.add(node)
        if said.gpu_gb:
            self.gpu_gb[node] = min(said.gpu_gb)

    def _token_seen(self, node: str) -> bool:
        path = token_of(self._question, node)
        try:
            # A network folder shows a new file late unless its folder is asked for anew.
            self._files.refresh("tmp")
            seen = self._files.read(path) == node.encode()
        except (FileNotFoundError, StoreError):
            return False
        self._written.append(path)
        return seen

    def close(self) -> None:
        """Remove the files that it left in the store."""
        with contextlib.suppress(OSError, BenchError):
            self._files.remove(self._written)


def _clock() -> float:
    return datetime.now(UTC).timestamp()


@ray.remote(num_cpus=0, max_retries=0)
def _answer(asked: Question, node: str) -> Answer:
    return answer(asked, node, ray.__version__)
