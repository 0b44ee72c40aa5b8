"""`bench launch`, before anything is sent: what a cluster could not reach or do."""

import pytest
from uninstalled import uninstalled

URL = ["--address", "http://127.0.0.1:1", "--store", "s3://bucket/x"]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the default store is a folder of this machine"),
        (["--store", "results/mine"], "--store results/mine is a folder of this machine"),
        (["--store", "memory://x"], "it ends with its process"),
        (["--store", "s3://key:secret@bucket/x"], "holds a password"),
        ([*URL, "--uv", "--pip"], "give one of them, or none"),
        ([*URL, "--image", "x", "--plugin", "mine.py"], "put mine.py into the image"),
        (["--store", "s3://bucket/x"], "name the cluster with --address http://HEAD:8265"),
        (["--store", "s3://bucket/x", "--address", "ray://head:10001"], "use launch with http://head:8265"),
        ([*URL, "--budget", "ten"], "--budget ten: expected a number"),
        ([*URL, "-t", "oood"], "no track 'oood'; did you mean 'ood'?"),
        ([*URL, "-t", "ood"], "nothing listens at http://127.0.0.1:1"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(bench, words, said):
    wrong = bench("launch", "-p", "paper", *words)
    assert (wrong.code, said in wrong.err) == (2, True), wrong
    assert "secret" not in wrong.err


def test_without_the_extra_it_says_what_to_install(bench, monkeypatch):
    uninstalled(monkeypatch, "aiohttp")
    wrong = bench("launch", "-p", "paper", "-t", "ood", *URL)
    assert (wrong.code, "pip install 'gridbench[cluster]'" in wrong.err) == (2, True), wrong


@pytest.mark.parametrize("command", ["logs", "stop", "status"])
def test_the_other_commands_say_the_same_of_an_address(bench, command):
    wrong = bench(command, "--address", "ray://head:10001")
    assert (wrong.code, "use launch with http://head:8265" in wrong.err) == (2, True), wrong


def test_run_says_where_a_job_server_is_for(bench, tmp_path):
    wrong = bench("run", "-t", "ood", "--address", "http://head:8265", "--store", str(tmp_path))
    assert (wrong.code, "bench launch --address http://head:8265" in wrong.err) == (2, True), wrong
