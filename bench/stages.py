"""The stages that a cell may read, and how one shard of a stage is named: below the plan, so that the process
of a cell needs no plan to find what it was asked to build or to read.
"""

from __future__ import annotations

from typing import Any

from bench.contract import Method, Stage, Task, Track, digest

#: (id of the track or of what a method declares its stages with, track, task) -> the stages declared there.
Declared = dict[tuple[int, str, str], tuple[Stage, ...]]


def declared_stages(
    track: Track, method: Method, task: Task, run: Any, declared: Declared | None = None
) -> list[Stage]:
    """The stages that a cell of this track, method and task may read, each once, inputs before their readers.

    Args:
        track: the track of the cell.
        method: the method of the cell.
        task: the task of the cell.
        run: the run settings of the track.
        declared: a cache for one plan. Declaring stages may read files and the metadata of packages, and one
            function often serves many methods.
    """
    out: dict[str, Stage] = {}
    declared = {} if declared is None else declared

    def add(stage: Stage) -> None:
        for s in stage.stages:
            add(s)
        out.setdefault(stage.address, stage)

    for function, ask in ((track, track.stages), (method.stages, method.stages_of)):
        at = (id(function), track.name, task.name)
        if at not in declared:
            declared[at] = tuple(ask(task, run))
        for stage in declared[at]:
            add(stage)
    return list(out.values())


def shard_key(stage: Stage, shard: int) -> str:
    """Key of the record of one shard of a stage."""
    return digest({"stage": stage.address, "shard": shard})


def shard_keys(stage: Stage) -> tuple[str, ...]:
    """Keys of the records of all shards of a stage."""
    return tuple(shard_key(stage, i) for i in range(stage.shards))


def shard_label(stage: Stage, shard: int) -> str:
    """Name of one shard for a reader: ``bank 2/3``, or ``bank`` where there is only one."""
    return f"{stage.name} {shard + 1}/{stage.shards}" if stage.shards > 1 else stage.name
