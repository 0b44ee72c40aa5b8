"""`bench launch`, before anything is sent: what a cluster could not reach or do."""

import brought_files as files
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
        ([*URL, "--wait", "ten"], "--wait ten: expected a number"),
        ([*URL, "--max-pending", "0"], "--max-pending 0: expected at least 1"),
        ([*URL, "-t", "oood"], "no track 'oood'; did you mean 'ood'?"),
        ([*URL, "-t", "ood"], "nothing listens at http://127.0.0.1:1"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(bench, words, said):
    wrong = bench("launch", "-p", "paper", *words)
    assert (wrong.code, said in wrong.err) == (2, True), wrong
    assert "secret" not in wrong.err


@pytest.mark.parametrize("below", ["ads.csv", "data/ads.csv"])
def test_data_of_the_users_own_are_not_sent_and_it_says_where_they_have_to_lie(
    bench, tmp_path, monkeypatch, below
):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    suite, place = str(tmp_path / "ads.yaml"), tmp_path / below
    files.table(place)
    said = bench("data", "add", "ads", "--table", str(place), "--label", "clicked", "--suite", suite)
    assert said.code == 0, said
    wrong = bench("launch", "-p", "quick", "--suite", suite, *URL)
    assert wrong.code == 2, wrong
    lies = "$BENCH_DATA/ads.csv" if below.startswith("data/") else place
    assert f"ads: the table {lies} and the folder $BENCH_DATA/brought/ads" in wrong.err
    assert f"below $BENCH_DATA {tmp_path / 'data'}" in wrong.err
    assert "launch with --data-there" in wrong.err
    sent = bench("launch", "-p", "quick", "--suite", suite, *URL, "--data-there")
    assert "nothing listens at http://127.0.0.1:1" in sent.err, sent


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


def test_the_command_on_the_cluster_gets_every_option_that_run_has(bench, monkeypatch):
    """All options of `bench run` but those that say where it runs."""
    from inspect import signature
    from types import SimpleNamespace

    from bench.cli.sweep import launch, run
    from bench.cluster import jobs

    sent = []
    server = SimpleNamespace(url="http://127.0.0.1:8265", asks=True)
    monkeypatch.setattr(jobs, "connect", lambda address: (None, server))
    monkeypatch.setattr(jobs, "submit", lambda client, key, words, env, about: sent.extend(words))
    monkeypatch.setattr(launch, "_environment", lambda options, *how: ({}, options.words()))
    given = ["--stale", "--failed", "--no-pack", "--budget", "2h", "--rate", "2.5"]
    given += ["--max-pending", "9", "--wait", "10m", "--log", "mlflow"]
    of_run, of_launch = (set(signature(c.command).parameters) for c in (run, launch))
    assert of_run - of_launch == {"local", "cpus"}
    said = bench("launch", "-p", "paper", "-t", "ood", *URL, *given, "--detach")
    assert said.code == 0, said
    assert sent[-len(given) :] == given


@pytest.mark.parametrize("command", ["run", "search"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-pending", "0"], "--max-pending 0: expected at least 1"),
        (["--max-pending", "-3"], "--max-pending -3: expected at least 1"),
        (["--wait", "10"], "--wait 10: expected a number with s, m, h or d"),
        (["--wait", ""], "--wait : expected a number"),
        (["--local", "--wait", "10m"], "--local runs without Ray, so --wait means nothing"),
        (["--local", "--max-pending", "9"], "--local runs without Ray, so --max-pending means nothing"),
        (["--local", "--address", "auto"], "--local runs without Ray, so --address means nothing"),
    ],
)
def test_a_wrong_word_about_the_cluster_is_told_before_anything_is_planned(
    bench, tmp_path, command, words, said
):
    wrong = bench(command, "-p", "paper", *words, "--store", str(tmp_path))
    assert (wrong.code, said in wrong.err) == (2, True), wrong
