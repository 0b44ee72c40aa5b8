"""A small board with every status on it: a synthetic track, three scales, eight rows, three seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.board.model import Board
from bench.board.paper_figures import PaperFigure
from bench.board.spec import BoardSpec, RowInfo, Slot
from bench.contract import Metric, Record, Task, Track, digest

PLUGIN = "<script>alert(1)</script>"


class BoardTrack(Track):
    """A track of which a board needs its declarations alone: it has no data and scores nothing."""

    def tasks(self, grid): ...
    def load(self, task, run, inputs): ...
    def truth(self, task, run, inputs): ...
    def score(self, task, answer, truth, history): ...
    def smoke(self): ...


class Sample(BoardTrack):
    name = "sample_ctr"
    title = "Embedding scale"
    metrics = (
        Metric(name="auc", better="higher", digits=4, doc="area under the ROC curve, ties share ranks"),
        Metric(name="logloss", better="lower", digits=4),
        Metric(name="info_abundance", better="neither", digits=1, kind="diagnostic"),
        Metric(name="parameters", better="lower", unit="k", digits=0, kind="cost"),
    )
    reference = "lr"
    axis = "scale"


TASKS = tuple(Task(name=f"flights-{s}x", params={"dataset": "flights", "scale": s}) for s in (1, 4, 10))
ROWS = (
    RowInfo(row="prior", label="Prior", deterministic=True, ref="the base rate"),
    RowInfo(row="lr", label="LR", ref="Richardson et al., WWW 2007"),
    RowInfo(row="fm", label="FM", ref="Rendle, ICDM 2010"),
    RowInfo(row="single/dcnv2", label="Single · DCNv2", ref="Wang et al., WWW 2021"),
    RowInfo(row="single/dnn", label="Single · DNN"),
    RowInfo(row="multi/dcnv2", label="Multi-embedding · DCNv2", role="method", counterpart="single/dcnv2"),
    RowInfo(row="multi/dnn", label="Multi-embedding · DNN", role="method", counterpart="single/dnn"),
    RowInfo(row="mine", label=PLUGIN, role="plugin"),
    RowInfo(row="multi/dcnv2-shared", label="Multi-embedding · DCNv2, shared", role="method", core=False),
)
_LEVEL = {"prior": 0.5, "lr": 0.701, "fm": 0.712, "single/dcnv2": 0.733, "single/dnn": 0.728,
          "multi/dcnv2": 0.735, "multi/dnn": 0.733, "mine": 0.69, "multi/dcnv2-shared": 0.734}  # fmt: skip
_SLOPE = {"multi/dcnv2": 0.0025, "multi/dnn": 0.002, "single/dcnv2": -0.0012, "single/dnn": -0.0008}
#: (row, scale, seed) -> what became of it instead of ok.
ODD = {
    ("fm", 10, 0): "lost", ("single/dnn", 10, 2): "failed", ("mine", 1, 1): "failed",
    ("mine", 4, 0): "oom", ("mine", 4, 1): "oom", ("mine", 4, 2): "timeout", ("mine", 10, 0): "diverged",
    ("mine", 10, 1): "skipped", ("mine", 10, 2): "new", ("multi/dcnv2-shared", 1, 0): "unplanned",
    ("multi/dcnv2-shared", 1, 1): "unplanned", ("multi/dcnv2-shared", 1, 2): "unplanned",
    ("multi/dcnv2-shared", 10, 2): "blocked",
}  # fmt: skip


def sample_slots() -> list[Slot]:
    """The same 75 slots every time."""
    rng = np.random.default_rng(7)
    out = []
    for info in ROWS:
        for task in TASKS:
            scale = task.params["scale"]
            for seed in range(1 if info.deterministic else 3):
                status = ODD.get((info.row, scale, seed), "ok")
                alias = info.counterpart if scale == 1 else None
                level = _LEVEL[alias or info.row] + _SLOPE.get(info.row, 0.0) * np.log2(scale)
                noise = 0.0 if info.deterministic else rng.normal(0, 0.0011)
                out.append(_slot(info, task, seed, status, level + noise, alias))
    for s in out:
        if s.alias_of:  # the aliased cell is the counterpart's own record
            twin = next(o for o in out if (o.row, o.task, o.seed) == (s.alias_of, s.task, s.seed))
            s.metrics, s.cost, s.key = twin.metrics, twin.cost, twin.key
    return out


def _slot(info, task, seed, status, auc, alias):
    ok = status == "ok"
    scale = task.params["scale"]
    metrics = {
        "auc": round(float(auc), 6),
        "logloss": round(0.9 - float(auc) / 2, 6),
        "parameters": 12.0 * scale,
    }
    metrics["info_abundance"] = None if info.row in ("prior", "lr") else 4.0 + scale / 2
    reason = {
        "failed": "ValueError: <b>shapes</b> (3,) and (4,)",
        "skipped": "needs a field it has not",
        "blocked": "movielens/ratings.csv is missing",
        "oom": "host memory",
    }.get(status, "")
    fallback = (info.row, scale, seed) == ("single/dcnv2", 10, 1)
    return Slot(
        row=info.row, task=task.name, seed=seed, key=digest([info.row, task.name, seed]), status=status,
        metrics=metrics if ok else {}, reason=reason, alias_of=alias,
        cost={"run_s": 3.0 + scale, "peak_mem_mb": 240.0 + 10 * scale} if ok else {},
        hardware="2 × x86, no GPU" if ok else "",
        stale=("methods/fm.py changed",) if info.row == "fm" and scale == 4 else (),
        marks=("fallback: micro_batch=64",) if fallback else (),
    )  # fmt: skip


def sample_detail(slots):
    """Reads whole records by key: logs, errors, a spectrum for the paired rows."""
    by_key = {s.key: s for s in slots if s.status not in ("new", "blocked", "unplanned")}

    def detail(key: str) -> Record | None:
        s = by_key.get(key)
        if s is None:
            return None
        error = {}
        if s.status != "ok":
            error = {
                "type": "ValueError",
                "message": s.reason,
                "last_lines": ["Traceback …", "</script><img src=x>"],
            }
        decay = 0.25 if s.row.startswith("multi") else 0.5
        series = {}
        if "/" in s.row and s.status == "ok":
            data = np.exp(-decay * np.arange(16)).round(5).tolist()
            series = {"spectrum": {"dims": ["index"], "coords": {"index": list(range(16))}, "data": data}}
        return Record(
            key=key, kind="cell", status=s.status, reason=s.reason, metrics=s.metrics, series=series,
            cost=s.cost, cell={"row": s.row, "task": s.task, "seed": s.seed, "hp": {"lr": 0.001, "dim": 16}},
            limits={"minutes": 10, "mem_gb": 4},
            where={"host": "node-1", "hardware": s.hardware, "threads": 1},
            provenance={"commit": "0123abc", "dirty": False, "data": "s7", "packages": {"torch": "2.14"}},
            log=[f"epoch {i}: loss {1 / (i + 1):.4f} </script>" for i in range(30)],
            error=error, marks=s.marks, started="2025-01-01T10:00:00", ended="2025-01-01T10:00:09",
        )  # fmt: skip

    return detail


PAPER_FIGURES = (
    PaperFigure(
        row="single/dcnv2",
        task="flights-1x",
        metric="auc",
        value=0.7331,
        std=0.0010,
        source="Paper A, table 2",
        setting="dim 10",
        digits=4,
    ),
    PaperFigure(
        row="multi/dcnv2",
        task="flights-10x",
        metric="auc",
        value=0.81,
        source="Paper A, table 2",
        setting="Criteo",
        difference="another data set",
        digits=2,
    ),
)


def sample_spec(**changes) -> BoardSpec:
    spec = BoardSpec(
        track=Sample(), profile="laptop", ranks_by="auc", tasks=TASKS, rows=ROWS,
        paper_figures=PAPER_FIGURES,
    )  # fmt: skip
    return replace(spec, **changes)


def sample_board(slots=None) -> Board:
    slots = sample_slots() if slots is None else slots
    return Board(sample_spec(), slots, sample_detail(slots))


def board_of(values, *, tasks=None, **changes):
    """A board from {row: [[value a seed] a task]}; a value may be a status instead."""
    n = len(next(iter(values.values())))
    tasks = tasks or [Task(name=f"t{k}") for k in range(n)]
    rows = changes.pop("rows", None) or [RowInfo(row=r, label=r.upper()) for r in values]
    slots = [
        Slot(row=r, task=tasks[t].name, seed=s, key=f"{r}-{t}-{s}", hardware="h",
             status=v if isinstance(v, str) else "ok", metrics={} if isinstance(v, str) else {"auc": v})
        for r, per_task in values.items()
        for t, per_seed in enumerate(per_task)
        for s, v in enumerate(per_seed)
    ]  # fmt: skip
    return Board(sample_spec(tasks=tasks, rows=rows, paper_figures=(), **changes), slots)
