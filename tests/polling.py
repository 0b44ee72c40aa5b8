"""Waiting for a state, never for a time: what tests of processes and threads share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds after which a state that does not come is a failure; a machine under load is still within it.
BOUND_S = 400.0


def wait_for(what: Callable[[], Any], said: str = "nothing happened", seconds: float = BOUND_S) -> Any:
    """The first true value of ``what``, looked at again and again."""
    until = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < until, said
        time.sleep(0.02)
    return value


@contextmanager
def beside(what: Callable[[], None]) -> Iterator[None]:
    """Run ``what`` in a thread beside the block; what it raises is raised when the block has ended."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            what()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(BOUND_S)
    assert not thread.is_alive(), "what ran beside has not ended"
    if raised:
        raise raised[0]
