"""Stores of every kind, and records of a realistic size."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.contract import Cell, Record
from bench.store.records import Store

RAN_WITH = {"run": {f"setting_{i}": i / 7 for i in range(12)}, "recipe": {"steps": 60}, "stages": {}}


def make_cell(i: int = 0, **changed: Any) -> Cell:
    declared = {
        "track": "embedding_scale", "track_version": 1, "task": f"flights-{i % 5}x", "task_version": 1,
        "row": f"multi/dcnv2-{i // 5 % 8}", "row_version": 1, "hp": {"lr": 1e-3, "sets": 4, "mlp": [64, 64]},
        "seed": i // 40, "run": {"epochs": 3},
    }  # fmt: skip
    return Cell(**{**declared, **changed})


def make_record(i: int = 0, *, cell: Cell | None = None, ended: str = "", **changed: Any) -> Record:
    cell = cell or make_cell(i)
    rng = random.Random(i)
    made: dict[str, Any] = {
        "key": cell.key, "kind": "cell", "cell": cell.declared(), "status": "ok",
        "metrics": {f"metric_{j}": rng.random() for j in range(8)},
        "series": {"spectrum": {"dims": ["k"], "coords": {"k": list(range(40))},
                                "data": [rng.random() for _ in range(40)]}},
        "cost": {"load_s": 0.5, "run_s": rng.random(), "score_s": 0.1, "peak_mem_mb": rng.random() * 900},
        "limits": {"minutes": 10, "mem_gb": 4},
        "where": {"host": "node7.corp.example", "label": "Fast CPU × 2", "cpus": 2, "gpus": [], "threads": 1},
        "provenance": {"ran_with": RAN_WITH, "data": "flights-1", "stages": {"pretrain": "ab" * 8},
                       "packages": {"torch": "2.14.0", "numpy": "2.4.0"}, "commit": "c" * 40},
        "log": [f"epoch {j}: loss {rng.random():.4f} on node7" for j in range(10)],
        "started": "2026-01-01T00:00:00.000000+00:00",
        "ended": ended or f"2026-01-02T00:00:00.{i % 10**6:06d}+00:00",
    }  # fmt: skip
    return Record(**{**made, **changed})


@pytest.fixture
def cell() -> Callable[..., Cell]:
    return make_cell


@pytest.fixture
def record() -> Callable[..., Record]:
    return make_record


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a moto S3 server on the loopback."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path, monkeypatch) -> str:
    """A fresh place for a store of each kind."""
    name = uuid.uuid4().hex
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        return str(tmp_path / "store")
    if request.param == "memory":
        return f"memory://{name}"
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir(f"b{name}")
    return f"s3://b{name}/prefix"


@pytest.fixture
def store(url: str) -> Store:
    return Store.open(url)


@pytest.fixture
def local(tmp_path) -> Store:
    return Store.open(tmp_path / "store")
