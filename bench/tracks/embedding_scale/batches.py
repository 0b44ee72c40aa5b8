"""Rows in mini-batches, so that a GPU never waits for them.

What fits lies on the device from the start and a batch is one gather there; what does not is gathered on the
host ahead of time, by a thread, into pinned memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

#: Share of a GPU's free memory that rows may take; parameters, Adam's states and activations need the rest.
_SHARE = 0.4
#: Batches gathered ahead of the one in use.
_AHEAD = 4


class Rows:
    """Arrays with the same first axis, read by batches of positions as tensors on one device.

    ``device``: where the batches are to be. ``resident``: whether all rows lie there from the start; None:
    if they fit (`fits`). A memory map that is not resident stays a map, so that a log larger than the memory
    can be trained on.
    """

    def __init__(
        self, arrays: Sequence[np.ndarray], device: str | torch.device, *, resident: bool | None = None
    ) -> None:
        self.device = torch.device(device)
        tensors = [torch.from_numpy(a) for a in arrays]
        self.resident = fits(sum(a.nbytes for a in arrays), self.device) if resident is None else resident
        self.tensors = [t.to(self.device) for t in tensors] if self.resident else tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, ...]]:
        """Every array's rows, ``size`` of ``order`` (n,) int64 at a time; the last batch may be smaller."""
        if self.resident:
            for rows in torch.split(order.to(self.device), size):
                yield tuple(t[rows] for t in self.tensors)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="rows") as gatherer:
            waiting: deque[Future[list[Tensor]]] = deque()
            for rows in torch.split(order, size):
                waiting.append(gatherer.submit(self._gather, rows))
                if len(waiting) > _AHEAD:
                    yield self._sent(waiting.popleft().result())
            while waiting:
                yield self._sent(waiting.popleft().result())

    def _gather(self, rows: Tensor) -> list[Tensor]:
        parts = [t.index_select(0, rows) for t in self.tensors]
        return [p.pin_memory() for p in parts] if self.device.type == "cuda" else parts

    def _sent(self, parts: list[Tensor]) -> tuple[Tensor, ...]:
        return tuple(p.to(self.device, non_blocking=True) for p in parts)


def fits(size: int, device: torch.device) -> bool:
    """Whether ``size`` bytes of rows may lie on ``device``: on a CPU always, as they are there already.

    On a GPU they may take `_SHARE` of what is free of this process's part of the card.
    """
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    mine = torch.cuda.get_per_process_memory_fraction(device) * total - torch.cuda.memory_reserved(device)
    return size <= _SHARE * min(free, mine)
