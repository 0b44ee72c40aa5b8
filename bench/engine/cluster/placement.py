"""What a sweep asks a Ray cluster for: how many cells of which shape wait for a place. Ray places them.

All that waits is pending, up to a bound, so that an autoscaler sees the whole demand. What is pending is a
shape and no cell yet: a trial gets its cell, and the driver the lease of that cell, when Ray has given the
trial its place. So what is pending is withheld from no other driver of the store, a cell that is tried again
comes first, and what waits is withdrawn without a trace.

Ray places what fits first, and Tune gives an actor that is free the next cell of its shape. So a cell of
another shape may wait for ever. For the cell whose turn it is, the first in the order of the plan, a node is
therefore kept once it has waited longer than the shortest running cell takes: other shapes that need what is
short there keep away from that node until it has begun. Cells on other nodes go on.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from bench.contract import Needs
from bench.engine.job import Unit
from bench.engine.sweep import Sweep

#: How often it is looked what waits: while enough is pending, and otherwise.
LOOK_S, SOON_S = 0.5, 0.1
#: What is enough: more than trials begin between two looks.
ENOUGH = 32
#: How long a cell waits at least before a node is kept for it: other actors have to start anew then.
HOLD_S = 5.0
#: How Ray names the type of a node's GPUs among its resources.
ACCELERATOR = "accelerator_type:"
#: Resources of a node as Ray has them, by the id of the node.
Nodes = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What Ray is asked for: processors, GPUs, bytes of memory, the nodes that it must not be, and the type
    of its GPUs ("": any).
    """

    cpu: float
    gpu: float
    memory: int
    avoid: tuple[str, ...] = ()
    accelerator: str = ""

    def of(self) -> dict[str, float]:
        """The resources as Ray names them."""
        return {"CPU": self.cpu, "GPU": self.gpu, "memory": self.memory, **_of_type(self.accelerator)}


@dataclass(slots=True)
class _Turn:
    """The unit whose turn it is, since when, the node that is kept for it ("": none yet), and the resources
    that are short there.
    """

    unit: Unit
    since: float
    node: str = ""
    short: frozenset[str] = frozenset()


@dataclass(slots=True)
class Placement:
    """The trials that wait for a place. Not thread-safe: its caller holds a lock.

    ``nodes``: those that are alive; ``left_out``: ids of nodes that get no cells; ``gpu_gb``: memory of the
    smallest GPU of a node, where it is known. ``pending``: trial -> the shape that it waits for. ``surplus``:
    trials of shapes of which too many wait, to be withdrawn.
    """

    sweep: Sweep
    max_pending: int
    nodes: Nodes
    left_out: set[str] = field(default_factory=set)
    gpu_gb: Mapping[str, float] = field(default_factory=dict)
    pending: dict[str, Shape] = field(default_factory=dict)
    surplus: set[str] = field(default_factory=set)
    _asked: deque[Shape] = field(default_factory=deque)
    _next_look: float = -inf
    _turn: _Turn | None = None
    _sized_for: tuple[Nodes | None, set[str]] = (None, set())
    _sizes: dict[Needs, dict[str, float]] = field(default_factory=dict)

    def ask(self, trial: str) -> Shape | None:
        """The shape that a new trial is to wait for; None: enough wait."""
        self._look_if_due()
        if not self._asked:
            return None
        self.pending[trial] = self._asked.popleft()
        return self.pending[trial]

    def begin(self, trial: str) -> Unit | None:
        """The unit of a trial that got its place, None if nothing of that shape is left for this driver."""
        shape = self.pending.pop(trial)
        unit = self.sweep.next(lambda needs: self._fills(needs, shape))
        if unit is not None:
            self.sweep.began(unit.key)
            if self._turn is not None and self._turn.unit.key == unit.key:
                self._take_turn(None)
        return unit

    def end(self, trial: str) -> bool:
        """A trial ended before it began; returns whether it was pending."""
        self.surplus.discard(trial)
        return self.pending.pop(trial, None) is not None

    def _look_if_due(self) -> None:
        if time.monotonic() >= self._next_look:
            self.look()

    def look(self) -> None:
        """Compare what waits with what is pending."""
        start = time.monotonic()
        # What is a little later in the order is not withdrawn: the order changes with what cells took.
        have, self._asked = Counter(self.pending.values()), deque()
        for i, unit in enumerate(self.sweep.ready(2 * self.max_pending)):
            shape = self.shape(unit.needs)
            if have[shape] > 0:
                have[shape] -= 1
            elif i < self.max_pending:
                self._asked.append(shape)
        self.surplus = set()
        for trial, shape in reversed(self.pending.items()):
            if have[shape] > 0:
                have[shape] -= 1
                self.surplus.add(trial)
        # With thousands of units that cannot start yet a look takes a while: it must not fill the driver.
        now = time.monotonic()
        every = LOOK_S if len(self.pending) >= min(ENOUGH, self.max_pending / 2) else SOON_S
        self._next_look = now + max(every, 10 * (now - start))

    def shape(self, needs: Needs) -> Shape:
        """What Ray is asked for to run a unit."""
        size, avoid = self._size(needs), self._unfit(needs)
        if self._turn is not None and self._competes(size, self._turn.node, self._turn.short):
            avoid.add(self._turn.node)
        kept_away = tuple(sorted(avoid))
        return Shape(size["CPU"], size["GPU"], int(size["memory"]), kept_away, needs.accelerator)

    def _fills(self, needs: Needs, shape: Shape) -> bool:
        """Whether a unit may run wherever a trial of that shape was placed."""
        return self._size(needs) == shape.of() and self._unfit(needs) <= set(shape.avoid)

    def _unfit(self, needs: Needs) -> set[str]:
        """The nodes that a unit must not run on."""
        wanted = needs.gpu_mem_gb or 0.0 if needs.gpu > 0 else 0.0
        small = {n for n, gb in self.gpu_gb.items() if gb < wanted}
        return (self.left_out | small) & self.nodes.keys()

    def _competes(self, size: Mapping[str, float], node: str, short: Iterable[str]) -> bool:
        """Whether cells of a size would take the place of the unit whose turn it is, on a node where some
        resources are short.
        """
        assert self._turn is not None
        other = size != self._size(self._turn.unit.needs) and _share(size, self.nodes.get(node, {})) <= 1
        return other and any(size.get(name, 0.0) > 0 for name in short)

    def _size(self, needs: Needs) -> dict[str, float]:
        if self._sized_for[0] is not self.nodes or self._sized_for[1] != self.left_out:
            self._sized_for, self._sizes = (self.nodes, set(self.left_out)), {}
        if needs not in self._sizes:
            memory = memory_of(needs, [r for n, r in self.nodes.items() if n not in self.left_out])
            size = {"CPU": float(needs.cpu), "GPU": float(needs.gpu), "memory": memory}
            self._sizes[needs] = size | _of_type(needs.accelerator)
        return self._sizes[needs]

    def watch(self, free: Callable[[], Nodes]) -> None:
        """Keep a node for the unit whose turn it is, if it has waited long enough.

        Args:
            free: asks Ray for what is unused on each node.
        """
        self._look_if_due()
        first = next(iter(self.sweep.ready(1)), None)
        if first is None or self._turn is None or self._turn.unit.key != first.key:
            self._take_turn(first)
            return
        waited = time.monotonic() - self._turn.since
        if self._turn.node not in self.nodes and waited > max(HOLD_S, self.sweep.shortest_running_s()):
            self._keep(first, free(), waited)
        elif self._turn.node in self.nodes and len(self._turn.short) < len(self._size(first.needs)):
            # Cells that need nothing that was short may have taken what was there.
            self._shorten(free().get(self._turn.node, {}))

    def _keep(self, unit: Unit, unused: Nodes, waited: float) -> None:
        """Keep the node that lacks least for a unit."""
        assert self._turn is not None
        size, avoid = self._size(unit.needs), self.shape(unit.needs).avoid
        lacking = {
            n: _share(size, unused.get(n, {}))
            for n, resources in sorted(self.nodes.items())
            if n not in avoid and _share(size, resources) <= 1
        }
        node = min(lacking, key=lambda n: lacking[n], default="")
        # It waits for a node that the cluster has yet to start, or Ray is about to place it.
        if not node or lacking[node] <= 1:
            return
        short = _short(size, unused.get(node, {}))
        if any(self._competes(shape.of(), node, short) for shape in self.pending.values()):
            self._turn.node, self._turn.short = node, short
            wants = f"cpu {unit.needs.cpu:g}, gpu {unit.needs.gpu:g}"
            self.sweep.held = f"a node is kept free for {unit.label} ({wants}), which waited {waited:.0f} s"
            self.look()

    def _shorten(self, unused: Mapping[str, float]) -> None:
        assert self._turn is not None
        short = self._turn.short | _short(self._size(self._turn.unit.needs), unused)
        if short != self._turn.short:
            self._turn.short = short
            self.look()

    def _take_turn(self, unit: Unit | None) -> None:
        kept = self._turn is not None and self._turn.node
        self._turn = _Turn(unit, time.monotonic()) if unit is not None else None
        if kept:
            self.sweep.held = ""
            self.look()


def _of_type(accelerator: str) -> dict[str, float]:
    """What Ray is asked for so that it places a cell where GPUs are of that type: such a node has 1 of it."""
    return {f"{ACCELERATOR}{accelerator}": 0.001} if accelerator else {}


def memory_of(needs: Needs, nodes: Iterable[Mapping[str, float]]) -> int:
    """Bytes to ask Ray for: the cell's limit, or all the memory that Ray gives to cells on a node if that is
    less; then the cell runs alone there.
    """
    fit = [n for n in nodes if n.get("CPU", 0.0) >= needs.cpu and n.get("GPU", 0.0) >= needs.gpu]
    return int(min(needs.mem_gb * 2**30, max((n.get("memory", 0.0) for n in fit), default=inf)))


def _share(size: Mapping[str, float], node: Mapping[str, float]) -> float:
    """The share of a node's resources that a size takes: more than 1 if it does not fit."""
    shares = [(want, node.get(name, 0.0)) for name, want in size.items() if want > 0]
    return max((want / has if has > 0 else inf for want, has in shares), default=0.0)


def _short(size: Mapping[str, float], unused: Mapping[str, float]) -> frozenset[str]:
    """The resources of which less is unused than a size takes."""
    return frozenset(name for name, want in size.items() if want > unused.get(name, 0.0))
