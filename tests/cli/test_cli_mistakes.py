"""What `bench run` says of a store, a budget or a token with which nothing would come of a sweep."""

from dataclasses import replace

import pytest


@pytest.fixture
def slow(sandbox):
    sandbox.use("slow").of(
        "slow", grid={"cells": 3}, run={"seconds": 0.0, "log": str(sandbox.folder / "log")}
    )
    return sandbox


def test_a_store_that_cannot_be_written_is_told_before_a_cell_runs(slow, bench):
    (slow.folder / "store").mkdir()
    (slow.folder / "store" / "locks").write_text("a file where a folder should be")
    said = bench(*slow.arguments("run", "--local", "-m", "sleeps"))
    assert said.code == 2, said
    assert f"the sweep stopped: cannot write {slow.folder / 'store' / 'locks'}" in said.err
    assert "the cells that were not recorded stay new" in said.err
    assert len(said.err.strip().splitlines()) <= 2
    assert not (slow.folder / "log").exists()


def test_a_budget_that_is_shorter_than_the_first_cell_says_how_long_one_takes(slow, bench):
    assert bench(*slow.arguments("run", "--local", "-m", "sleeps", "-k", "t00")).code == 0
    (record,) = slow.records()
    slow.store().write(replace(record, cost={**record.cost, "run_s": 3600.0}, generation=1))
    said = bench(*slow.arguments("run", "--local", "-m", "sleeps", "--budget", "10m"))
    assert said.code == 0, said
    why = "no cell that is left is expected to end within the budget: the shortest takes about 60.0 min"
    assert f"stopped: {why}; 2 not run" in said.out
    assert len(slow.records()) == 1


@pytest.mark.ray
def test_a_token_that_a_cluster_does_not_take_is_told_before_anything_is_planned(bench, monkeypatch):
    import ray._raylet
    from ray.exceptions import AuthenticationError

    from bench.cluster import address

    def refused(address):
        raise AuthenticationError("no token")

    monkeypatch.setattr(ray._raylet, "GcsClient", refused)
    monkeypatch.setattr(address, "check_run_address", lambda given: given)
    said = bench("run", "-t", "ood", "--address", "head:6379")
    assert said.code == 2
    assert "the cluster at head:6379 does not take the token of this process" in said.err
    assert "RAY_AUTH_TOKEN" in said.err
