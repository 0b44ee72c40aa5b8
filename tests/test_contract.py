"""The words of the ground floor: keys, addresses, rows, limits; and that they import nothing heavy."""

import dataclasses
import hashlib
import math
import subprocess
import sys

import pytest

from bench.contract import (
    BenchError,
    Cell,
    Metric,
    Needs,
    Space,
    Stage,
    Task,
    Track,
    canonical,
    digest,
    method,
)


def cell(**changed):
    given = {
        "track": "t", "track_version": 1, "task": "a", "task_version": 1, "row": "r", "row_version": 1,
        "hp": {"b": 1, "a": 0.5}, "seed": 0, "run": {"epochs": 2},
    }  # fmt: skip
    return Cell(**{**given, **changed})


def test_a_key_is_the_digest_of_what_was_declared():
    assert cell().key == cell(hp={"a": 0.5, "b": 1}).key, "the order of a mapping says nothing"
    assert cell(hp={"a": (1, 2)}).key == cell(hp={"a": [1, 2]}).key
    changes = [
        {"track": "u"}, {"track_version": 2}, {"task": "b"}, {"task_version": 2}, {"row": "s"},
        {"row_version": 2},
        {"hp": {"a": 0.5, "b": 2}}, {"hp": {"a": 0.5}}, {"seed": 1}, {"run": {}}, {"run": {"epochs": 3}},
    ]  # fmt: skip
    assert {next(iter(c)) for c in changes} == {f.name for f in dataclasses.fields(Cell)}
    assert len({cell(**c).key for c in changes} | {cell().key}) == len(changes) + 1
    assert len(cell().key) == 16
    assert cell().key == digest(cell().declared())


def test_a_key_stays_what_it_is():
    """A changed recipe would make every published record one of another cell."""
    text = (
        '{"hp":{"a":0.5,"b":1},"row":"r","row_version":1,"run":{"epochs":2},"seed":0,"task":"a","task_version":1,'
        '"track":"t","track_version":1}'
    )
    assert cell().key == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_canonical_refuses_what_json_cannot_say():
    assert canonical({"b": (1, 2), "a": "é"}) == '{"a":"é","b":[1,2]}'
    with pytest.raises(ValueError):
        canonical(math.nan)
    with pytest.raises(TypeError):
        canonical({"a": object()})


def build(ctx):
    """A stage's recipe."""


def test_a_stages_address_holds_all_that_it_declares():
    first = Stage(name="first", build=build)
    base = Stage(name="s", build=build, params={"a": 1}, stages=(first,))
    others = [
        dataclasses.replace(base, name="t"), dataclasses.replace(base, params={"a": 2}),
        dataclasses.replace(base, version=2), dataclasses.replace(base, shards=2),
        dataclasses.replace(base, stages=()),
        dataclasses.replace(base, stages=(dataclasses.replace(first, version=2),)),
        dataclasses.replace(base, build=test_a_key_stays_what_it_is),
    ]  # fmt: skip
    assert len({s.address for s in others} | {base.address}) == len(others) + 1
    assert dataclasses.replace(base, needs=Needs(cpu=8)).address == base.address


def test_a_stage_per_seed_is_another_one_for_each():
    shared = Stage(name="s", build=build)
    own = dataclasses.replace(shared, per_seed=True)
    assert shared.of_seed(3) is shared
    assert len({shared.address, own.of_seed(0).address, own.of_seed(1).address}) == 3
    assert own.of_seed(1).seed == 1


def test_rows_labels_and_hyper_parameters_of_variants():
    @method(
        "t", name="Two words", hp={"a": Space(default=0.5, low=0, high=1), "b": "x"},
        variants={"big": {"b": "y"}}, counterpart="single/{variant}",
    )  # fmt: skip
    def two_words(data, hp, ctx):
        return None

    (m,) = two_words.__bench_methods__
    assert m.rows() == ("two-words", "two-words/big")
    assert m.hp_of("two-words") == {"a": 0.5, "b": "x"}
    assert m.hp_of("two-words/big") == {"a": 0.5, "b": "y"}
    assert m.label("two-words/big") == "Two words · big"
    assert m.counterpart_of("two-words/big") == "single/big"
    assert dataclasses.replace(m, base=False).rows() == ("two-words/big",)
    assert two_words(1, 2, 3) is None, "the function is left as it is"


@pytest.mark.parametrize(
    ("given", "where"), [({"variants": {"big": {"c": 1}}}, "'big'"), ({"fallback": {"c": 1}}, "'fallback'")]
)
def test_a_variant_or_a_fallback_sets_only_what_there_is(given, where):
    with pytest.raises(BenchError, match=rf"{where} sets 'c', which is not in hp \['a'\]"):
        method("t", name="M", hp={"a": 1}, **given)(lambda data, hp, ctx: None)


@pytest.mark.parametrize(
    ("then", "now", "below"),
    [
        (Needs(), Needs(), False),
        (Needs(minutes=1), Needs(minutes=2), True),
        (Needs(mem_gb=1, minutes=3), Needs(mem_gb=2, minutes=2), True),
        (Needs(cpu=1), Needs(cpu=4, gpu=1), False),
        (Needs(gpu_mem_gb=8), Needs(gpu_mem_gb=16), True),
        (Needs(gpu_mem_gb=8), Needs(gpu_mem_gb=None), True),
        (Needs(gpu_mem_gb=None), Needs(gpu_mem_gb=8), False),
    ],
)
def test_limits_that_end_a_cell_are_compared(then, now, below):
    assert then.below(now) is below


def test_a_validation_metric_reads_as_its_own_and_never_ranks():
    class T(Track):
        metrics = (Metric(name="auc", better="higher", digits=3, unit="%"),)
        tasks = load = truth = score = smoke = None

    t = T()
    assert t.metric("auc").kind == "quality"
    val = t.metric("val_auc")
    assert (val.name, val.kind, val.better, val.digits, val.unit) == (
        "val_auc", "diagnostic", "higher", 3, "%",
    )  # fmt: skip
    with pytest.raises(KeyError):
        t.metric("acu")


def test_a_task_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Task(name="a").name = "b"


def test_the_contract_imports_nothing_of_ours_and_nothing_heavy():
    code = "import sys, bench.contract; print(*sorted(m for m in sys.modules if m.partition('.')[0] in %r))"
    heavy = ("bench", "numpy", "torch", "ray", "pandas", "yaml", "pydantic", "xarray")
    said = subprocess.run([sys.executable, "-c", code % (heavy,)], text=True, capture_output=True, check=True)
    assert said.stdout.split() == [
        "bench",
        "bench.claims",
        "bench.contract",
        "bench.declared",
        "bench.errors",
        "bench.protocols",
    ]
