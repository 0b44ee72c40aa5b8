"""Logs of cells: what each client is given, read back; and that a log which fails is a note and no more."""

from __future__ import annotations

import json
import sys

import pytest

from bench.contract import BenchError, Record
from bench.live import logs


def record(**changes):
    given = {
        "key": "0123456789abcdef", "kind": "cell", "status": "ok", "metrics": {"auc": 0.75, "none": None},
        "cell": {
            "track": "embedding_scale", "task": "ads-1x", "row": "single/dnn", "seed": 2,
            "hp": {"model": "dnn"}, "run": {"lr": 0.01},
        },
        "curve": [{"step": 10, "loss": 0.7}, {"step": 20, "loss": 0.5, "bad": None}],
        "history": [{"step": 20, "seconds": 1.0, "metrics": {"auc": 0.7}}],
        "cost": {"run_s": 3.5}, "started": "2026-01-01T00:00:00+00:00", "ended": "2026-01-01T00:00:04+00:00",
    }  # fmt: skip
    return Record(**{**given, **changes})


def test_a_cells_numbers_are_those_of_its_record():
    assert logs.scores_of(record()) == {"auc": 0.75, "cost.run_s": 3.5}
    assert logs.scores_of(record(metrics={"step": {"bound": 9}}, cost={})) == {"step": 9.0}
    points = list(logs.points_of(record()))
    assert points == [(10, {"curve.loss": 0.7}), (20, {"curve.loss": 0.5}), (20, {"snapshot.auc": 0.7})]
    assert json.loads(logs.text_of(record()))["cell"]["row"] == "single/dnn"


def test_tensorboard_has_curve_scores_settings_and_record(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto import event_pb2

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "runs"))
    log = logs.opened("tensorboard")
    log.cell(record())
    log.close()
    folder = tmp_path / "runs" / "embedding_scale" / "ads-1x" / "single-dnn" / "seed-2"
    (file,) = folder.glob("events.*")
    data, at, scalars, texts = file.read_bytes(), 0, [], {}
    while at < len(data):  # length, its checksum, an event, its checksum
        length = int.from_bytes(data[at : at + 8], "little")
        event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        for value in event.summary.value:
            if value.HasField("tensor"):
                texts[value.tag.partition("/")[0]] = value.tensor.string_val[0].decode()
            else:
                scalars.append((value.tag, event.step, round(value.simple_value, 4)))
    assert ("curve.loss", 20, 0.5) in scalars
    assert ("snapshot.auc", 20, 0.7) in scalars
    assert ("auc", 0, 0.75) in scalars
    assert '"key": "0123456789abcdef"' in texts["record"]
    assert json.loads(texts["settings"])["run.lr"] == 0.01


def test_mlflow_has_a_run_for_a_cell_in_its_file_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    log = logs.opened("mlflow")
    log.cell(record())
    log.cell(record(status="diverged", reason="auc is nan", key="0" * 16))
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("gridbench/embedding_scale")
    failed, run = client.search_runs([experiment.experiment_id], order_by=["tags.key"])
    assert run.info.run_name == "single/dnn · ads-1x · seed 2"
    assert run.data.params["hp.model"] == "dnn"
    assert run.data.params["run.lr"] == "0.01"
    assert run.data.metrics["auc"] == 0.75
    assert run.data.tags["key"] == record().key
    curve = client.get_metric_history(run.info.run_id, "curve.loss")
    assert sorted((m.step, m.value) for m in curve) == [(10, 0.7), (20, 0.5)]
    (file,) = (tmp_path / "mlruns").rglob(f"{run.info.run_id}/artifacts/record.json")
    assert json.loads(file.read_text())["key"] == record().key
    assert (failed.info.status, failed.data.tags["reason"]) == ("FAILED", "auc is nan")


def test_wandb_writes_a_run_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    log = logs.opened("wandb")
    log.cell(record())
    log.close()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert next(folder.glob("*.wandb")).stat().st_size > 0


def test_a_client_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(BenchError, match=r"--log mlflow: .*pip install 'gridbench\[mlflow\]'"):
        logs.opened("mlflow")


class Broken:
    """A log whose server is gone."""

    def cell(self, record):
        raise ConnectionError("no route to host\nand more")

    def close(self):
        raise RuntimeError("closed")


class Kept:
    """A log that remembers."""

    def __init__(self):
        self.rows = []

    def cell(self, record):
        self.rows.append(record.cell["row"])

    def close(self):
        self.rows.append("closed")


def test_a_log_that_fails_never_fails_a_cell(grids, bench, monkeypatch):
    kept = Kept()
    monkeypatch.setitem(logs.LOGS, "wandb", (Broken, "wandb"))
    monkeypatch.setitem(logs.LOGS, "mlflow", (lambda: kept, "mlflow"))
    said = bench(*grids.arguments("run", "--local", "--log", "wandb", "--log", "mlflow"))
    assert said.code == 0, said
    assert "not every cell is logged to wandb" in said.out
    cells = [r for r in grids.records() if r.kind == "cell"]
    assert {r.status for r in cells} <= {"ok", "skipped"}
    ran = [r.cell["row"] for r in cells if r.status == "ok"]
    assert sorted(kept.rows) == sorted([*ran, "closed"])
