"""What machines a plan asks for: its cells and stages, grouped by the number and the type of the GPUs that
each of them takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench.contract import BenchError, Needs
from bench.plan import Plan, PlannedCell

#: Processors of a machine without GPUs, if one cell does not ask for more.
CPUS = 8
#: Memory in GB that Ray's own processes, and the fork server of cells, take on a machine.
RAY_GB = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Machines of one kind: ``cells`` cells and stages run on them, ``at_once`` side by side.

    ``cpu``, ``gpu`` and ``mem_gb`` are what all that run side by side take together, without what Ray takes;
    ``gpu_mem_gb`` is the largest limit of device memory, 0 if none is stated; ``minutes`` is the longest
    limit. ``accelerator``: the type of its GPUs as Ray names it, "": any.
    """

    cpu: int
    gpu: int
    mem_gb: int
    gpu_mem_gb: float
    minutes: float
    cells: int
    at_once: int
    accelerator: str = ""

    @property
    def name(self) -> str:
        """``gpu-1``, ``gpu-8-h100``, ``cpu``: a name that Kubernetes takes too."""
        of_type = f"-{self.accelerator.lower().strip('-')}" if self.accelerator else ""
        return f"gpu-{self.gpu}{of_type}" if self.gpu else "cpu"

    @property
    def gpus(self) -> str:
        """Its GPUs in words: ``8 H100 GPUs of 70 GB``."""
        of_type = f" {self.accelerator}" if self.accelerator else ""
        memory = f" of {self.gpu_mem_gb:g} GB" if self.gpu_mem_gb else ""
        return f"{self.gpu}{of_type} GPU{'' if self.gpu == 1 else 's'}{memory}"

    @property
    def most(self) -> int:
        """How many such machines could be busy at once."""
        return math.ceil(self.cells / self.at_once)

    @property
    def whole_gb(self) -> int:
        """Memory of the machine."""
        return self.mem_gb + RAY_GB


def wanted(plan: Plan) -> list[PlannedCell]:
    """Cells that a cluster would run: those that are new or stale, and those whose data are missing on this
    machine, where the plan is made, but will be on the cluster.
    """
    states = ("new", "stale", "blocked")
    return list({c.key: c for c in plan.cells if c.state in states and c.skip is None}.values())


def shapes(plan: Plan) -> list[Shape]:
    """The machines that a plan asks for, those with most GPUs first.

    Raises:
        BenchError: the plan has nothing to run.
    """
    needs = [c.needs for c in wanted(plan)]
    if not needs:
        done = ", ".join(f"{n} {state}" for state, n in plan.count().items()) or "no cell"
        raise BenchError(
            f"profile {plan.profile} has nothing to run ({done}): there is no cluster to ask for. "
            "--fresh leaves published records out"
        )
    needs += [s.stage.needs for s in plan.stages.values() if s.state in ("new", "stale")]
    groups: dict[tuple[int, str], list[Needs]] = {}
    for n in needs:
        groups.setdefault((max(math.ceil(n.gpu), int(n.accelerator != "")), n.accelerator), []).append(n)
    return [_shape(*of, groups[of]) for of in sorted(groups, key=lambda of: (-of[0], of[1]))]


def _shape(gpus: int, accelerator: str, group: Iterable[Needs]) -> Shape:
    group = list(group)
    side = [_side_by_side(n, gpus) for n in group]
    return Shape(
        cpu=max(math.ceil(n.cpu * at) for n, at in zip(group, side, strict=True)),
        gpu=gpus,
        mem_gb=max(math.ceil(n.mem_gb * at) for n, at in zip(group, side, strict=True)),
        gpu_mem_gb=max(n.gpu_mem_gb or 0.0 for n in group),
        minutes=max(n.minutes for n in group),
        cells=len(group),
        at_once=min(side),
        accelerator=accelerator,
    )


def _side_by_side(needs: Needs, gpus: int) -> int:
    """How many cells with these needs a machine is made for: those that share a GPU, or that fill `CPUS`."""
    if needs.gpu > 0:
        return max(1, int(gpus / needs.gpu + 1e-9))
    return max(1, int(CPUS / max(needs.cpu, 1)))
