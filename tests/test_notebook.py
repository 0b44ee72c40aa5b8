"""`bench.try_method`: one method on one task, in this process, beside the reference."""

import pytest

import bench
from bench.contract import BenchError, method
from bench.plan import make_plan
from bench.registry import Registry
from bench.suite import Suite

pytestmark = pytest.mark.slow


def constant(data, hp, ctx):
    """Half for every row."""
    import numpy as np

    ctx.log.info("seed %d", ctx.seed)
    return {"val": np.full(len(data.val_x), 0.5), "test": np.full(len(data.test_x), 0.5), "parameters": 0}


def test_a_function_is_scored_and_shown_beside_the_reference(sandbox):
    tried = bench.try_method(constant, "embedding_scale", profile="smoke", store=sandbox.store_folder)
    assert tried.score.metrics["auc"] == 0.5
    assert tried.score.metrics["logloss"] == pytest.approx(0.6931, abs=1e-4)
    text = str(tried)
    assert text.startswith("constant on flights-")
    assert f"{tried.reference}: no record <- ranks" in text


def test_the_references_records_are_shown(sandbox):
    from bench.engine.execute import execute
    from bench.plan import Filter, make_plan
    from bench.registry import Registry
    from bench.suite import Suite

    suite, registry, store = Suite.read(), Registry(), sandbox.store()
    reference = registry.track("embedding_scale").reference
    plan = make_plan(suite, registry, store, "smoke", tracks=["embedding_scale"], wanted=Filter([reference]))
    execute(plan, registry, store, local=True)
    tried = bench.try_method(constant, "embedding_scale", profile="smoke", store=sandbox.store_folder)
    (value,) = tried.reference_values["auc"]
    assert f"{reference}: {value:.4f} (n=1)" in str(tried)


def test_a_method_gets_its_hyper_parameters_and_mistakes_are_named(sandbox):
    seen = {}

    @method("embedding_scale", name="Asks", hp={"lr": 0.1, "depth": 2})
    def asks(data, hp, ctx):
        seen.update(hp, seed=ctx.seed)
        return constant(data, hp, ctx)

    bench.try_method(
        asks, "embedding_scale", profile="smoke", hp={"lr": 0.5}, seed=3, store=sandbox.store_folder
    )
    plan = make_plan(Suite.read(), Registry(), None, "smoke", tracks=["embedding_scale"])
    task = plan.tasks["embedding_scale"][0]
    assert seen == {"lr": 0.5, "depth": 2, "seed": task.stream(3)}
    for given, said in {
        ("embedding_scale", "x", "smoke"): "has no task 'x'",
        ("embeding_scale", None, "smoke"): "did you mean 'embedding_scale'?",
        ("embedding_scale", None, "smok"): "did you mean 'smoke'?",
    }.items():
        with pytest.raises(BenchError) as e:
            bench.try_method(asks, given[0], given[1], profile=given[2], store=sandbox.store_folder)
        assert said in str(e.value)
    with pytest.raises(BenchError, match="no hyper-parameter 'l'"):
        bench.try_method(asks, "embedding_scale", profile="smoke", hp={"l": 1}, store=sandbox.store_folder)
