"""The actor that runs cells on a node of the cluster: a trial of Ray Tune each, one after the other."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from math import inf
from typing import Any

import ray
from ray import tune
from ray._private.state import state as cluster

from bench.contract import BenchError
from bench.engine.cluster.node import Node, NodeGoneError, Parent, folder_for
from bench.engine.cluster.packing import with_gpu
from bench.engine.job import Unit
from bench.engine.worker import CrowdedError, NoRoomError

#: The label that every node of Ray has: its id.
NODE_LABEL = "ray.io/node-id"
#: How long an actor waits on a node that has not answered the roll call before its trial ends without a cell.
UNKNOWN_S = 1.0
#: How often an actor asks whether the cluster is about to take its node away. Clouds tell it 30 s to two
#: minutes before.
HEED_S = 5.0


class Deadline:
    """A time on this process's monotonic clock. It is sent to another process as the seconds left, since the
    clocks of two machines need not agree. None: no deadline.
    """

    def __init__(self, at: float | None) -> None:
        self.at = at

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return inf if self.at is None else self.at - time.monotonic()

    def __reduce__(self) -> tuple[Any, ...]:
        return _deadline_in, (self.left_s(),)

    def __repr__(self) -> str:
        return "Deadline()"


def _deadline_in(left_s: float) -> Deadline:
    return Deadline(None if left_s == inf else time.monotonic() + left_s)


class CellActor(tune.Trainable):
    """Runs the cell that the driver gave it when its trial began. It always reports, so an error of Tune
    means that the actor or its node is gone.
    """

    @classmethod
    def default_resource_request(cls, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        """What a trial needs, and the nodes that it must not be placed on."""
        bundle = {k: v for k, v in config.items() if k != "avoid"}
        if not config["avoid"]:
            return tune.PlacementGroupFactory([bundle])
        elsewhere = {NODE_LABEL: f"!in({','.join(config['avoid'])})"}
        return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])

    def setup(  # type: ignore[override]  # tune.with_parameters adds them
        self, config: dict[str, Any], units: Mapping[str, Unit], store: str, preload: Sequence[str]
    ) -> None:
        """Called once an actor, and not again when it goes on with another trial."""
        here = ray.get_runtime_context()
        self.at, self.units = here.get_node_id(), units
        self.unit: Unit | None = None
        folder = folder_for(here.get_session_name(), here.get_job_id(), self.at)
        self.raylet = Parent.of(os.getppid())
        self.node = Node(folder, store, preload, self.raylet)
        self.deadline, self.approved = Deadline(None), False
        threading.Thread(target=self._heed, daemon=True, name="leaving").start()

    def _heed(self) -> None:
        """Wait until the cluster is about to take this node away (Ray drains it), and have the checkpoints of
        its cells copied at once from then on.
        """
        while True:
            with suppress(Exception):  # the head does not answer at this moment
                if self.at in cluster.get_draining_nodes():
                    break
            time.sleep(HEED_S)
        self.node.leave()

    def take(
        self,
        key: str,
        attempt: int,
        built: Mapping[str, float],
        deadline: Deadline,
        approved: Collection[str] | None,
        gpu: float,
        packed: bool,
    ) -> str:
        """Take the cell that the next `step` runs, and say on which node: by its host and the beginning of
        its id, since a host may have several. ``approved``: ids of the nodes that may run cells; None: all.
        ``gpu``: what it has of GPUs; ``packed``: whether that is less than it declared.
        """
        unit = replace(self.units[key], attempt=attempt, built=built)
        self.unit = with_gpu(unit, gpu, packed)
        self.deadline, self.approved = deadline, approved is None or self.at in approved
        return f"{platform.node()} ({self.at[:6]})"

    def step(self) -> dict[str, Any]:
        """Run the cell; the trial ends with it."""
        unit, self.unit = self.unit, None
        said = ("key", "status", "reason", "ended", "file", "stop", "lost", "no_room", "crowded")
        report: dict[str, Any] = dict.fromkeys(said, "")
        report |= {"done": True, "measured": (), "node": platform.node(), "node_id": self.at}
        if unit is None or self.deadline.left_s() <= 0:
            return report
        # A node that has just joined: the cell goes back until it has answered. A node whose raylet is gone:
        # this actor may live a little longer, and a cell that it took would lose an attempt for nothing.
        if not self.approved or not self.raylet.alive():
            time.sleep(UNKNOWN_S)
            return report
        report["key"] = unit.key
        try:
            ended = self.node.run(unit, os.environ.get("CUDA_VISIBLE_DEVICES"))
            report |= {"status": ended.status, "reason": ended.reason}
            report |= {"ended": ended.ended, "file": ended.file}
            report["measured"] = astuple(ended.measured) if ended.measured is not None else ()
        except NodeGoneError as e:
            report["lost"] = str(e)
        except NoRoomError as e:
            report["no_room"] = str(e)
        except CrowdedError as e:
            report["crowded"] = str(e)
        except BenchError as e:
            report["stop"] = str(e)
        except Exception as e:
            report["stop"] = f"fault in the engine: {type(e).__name__}: {e}"
        return report

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with the next trial."""
        return True

    def cleanup(self) -> None:
        """Leave the process of the node."""
        self.node.close()
