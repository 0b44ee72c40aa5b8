"""Mistakes in what a method declares: each is one message with file and line, and none counts as success."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.contract import BenchError, Needs, Space, Stage, canonical, digest, method
from bench.declared import plain_problem

HEAD = "import numpy as np\nfrom bench.contract import Needs, Space, Stage, method\n"
BODY = "\ndef m(data, hp, ctx):\n    return 0.5\n"

#: What stands in @method of a plugin -> what is said of it.
DECLARED = {
    "hp={'lr': np.float32(.1)}": "hp['lr'] is ",
    "hp={'lr': np.float64(.1)}": "(numpy.float64), expected a plain number, such as float(…)",
    "hp={'lr': [np.int64(1)]}": "hp['lr'][0] is ",
    "hp={'lr': float('nan')}": "hp['lr'] is nan, expected a finite number",
    "hp={'lr': {'a': [float('inf')]}}": "hp['lr']['a'][0] is inf, expected a finite number",
    "hp={'a': {1, 2}}": "hp['a'] is {1, 2} (set), expected a list or a tuple",
    "hp={'a': {1: 2}}": "hp['a'] has the key 1, expected texts as keys",
    "hp={1: 2}": "hp has the key 1, expected texts as keys",
    "hp={'a': 2**63}": "hp['a'] has more than 64 bits",
    "hp={'a': chr(0xdc80)}": "which is no Unicode",
    "hp=[('a', 1)]": "expected a mapping",
    "hp={'a': 1}, variants={'b': {'a': float('nan')}}": "hp of 'b'['a'] is nan",
    "hp={'a': 1}, variants={'b/c': {}}": "the name of a variant is 'b/c', expected letters",
    "hp={'a': 1}, variants={'b': 3}": "'b' is 3, expected the hyper-parameters that it changes",
    "hp={'a': Space(default=2.0, low=0.0, high=1.0)}": "expected low < high and a default between them",
    "hp={'a': Space(default=1, choices=(2, 3))}": "Space: expected a default among its choices",
    "hp={'a': Space(default=1.0, low=0.0, high=1.0, log=True)}": "a logarithmic range begins above 0",
    "id='a/b'": "id is 'a/b', expected letters, digits",
    "id='<b>x</b>'": "id is '<b>x</b>'",
    "id=''": "id is ''",
    "id='*'": "id is '*'",
    "id='a b'": "id is 'a b'",
    "id='-a'": "id is '-a'",
    "id=3": "id is 3",
    "base=False": "it has no row: base=False leaves only the variants",
    "base='no'": "base is 'no' (str), expected bool",
    "version='2'": "version is '2' (str), expected int",
    "needs={'cpu': 1}": "needs is {'cpu': 1}, expected Needs(…)",
    "needs=Needs(minutes=-1)": "needs: minutes is -1, expected a finite number above 0",
    "needs=Needs(minutes=float('inf'))": "needs: minutes is inf",
    "needs=Needs(mem_gb=0)": "needs: mem_gb is 0",
    "needs=Needs(cpu='2')": "needs: cpu is '2'",
    "needs=Needs(accelerator='H 100')": "needs: accelerator is 'H 100', expected a type of GPU",
    "needs=Needs(accelerator=100)": "needs: accelerator is 100, expected a type of GPU",
    "needs=Needs(gpu=-1)": "needs: gpu is -1, expected a finite number, 0 or above 0",
    "skip='no'": "skip is 'no', expected a function or None",
    "alias='other'": "alias is 'other', expected a function or None",
    "stages='bank'": "stages is 'bank', expected a sequence of stages",
    "stages=[Stage(name='', build=print)]": "stage '': expected a name",
    "stages=[Stage(name='b', build=print, params={'n': np.int64(1)})]": "stage 'b': params['n'] is ",
    "stages=[Stage(name='b', build=print, shards=0)]": "stage 'b': shards is 0",
    "counterpart='{row}'": "only {variant} is filled in",
    "skip=lambda t, r, h: 1 / 0": "ZeroDivisionError: division by zero (asked for skip of m on flights-4x)",
    "skip=lambda t, r, h: 42": "skip of m on flights-4x gave 42, expected a text or None",
    "alias=lambda t, h: h['no']": "KeyError: 'no' (asked for alias of m on flights-4x)",
    "alias=lambda t, h: 'no-such-row'": "has no row 'no-such-row'",
    "stages=lambda t, r: [3]": "(asked for the stages of m on flights-4x)",
}


@pytest.mark.parametrize("declared", DECLARED)
def test_a_mistake_in_a_declaration_is_a_message_with_the_place(sandbox, bench, declared):
    sandbox.use("grids").of("grids", grid={"scales": [4]})
    file = sandbox.folder / "mine.py"
    file.write_text(f"{HEAD}@method('grids', name='M', {declared}){BODY}")
    said = bench(*sandbox.arguments("plan"), "--plugin", file)
    assert said.code == 2, said
    assert str(file) in said.err or "no-such-row" in declared
    assert DECLARED[declared] in said.err
    if "asked for" not in DECLARED[declared] and "gave" not in DECLARED[declared]:
        assert f"{file}:3: " in said.err or "no-such-row" in declared


ENDS = {
    "import sys; sys.exit(0)\n": "mine.py:1: it ends the program (SystemExit: 0) while it is imported",
    "x = 1\nraise SystemExit('done')\n": "mine.py:2: it ends the program (SystemExit: done)",
    "import argparse\nargparse.ArgumentParser().parse_args()\n": "it ends the program (SystemExit: 2)",
    "quit()\n": "it ends the program (SystemExit: None)",
}


@pytest.mark.parametrize("text", ENDS)
def test_a_plugin_that_ends_the_program_is_a_mistake_and_no_success(sandbox, bench, text):
    sandbox.use("grids").of("grids")
    file = sandbox.folder / "mine.py"
    file.write_text(text + f"{HEAD}@method('grids', name='M'){BODY}")
    for words in (sandbox.arguments("plan"), ["check"]):
        said = bench(*words, "--plugin", file)
        assert said.code == 2, said
        assert ENDS[text] in said.err
        assert "__main__" in said.err


def test_an_alias_that_leads_back_is_a_message(sandbox, bench):
    sandbox.use("grids").of("grids", grid={"scales": [4]})
    file = sandbox.folder / "mine.py"
    row = (
        "\n@method('grids', name='M', id='{}', alias=lambda t, h: '{}')\ndef {}(data, hp, ctx): return 0.5\n"
    )
    file.write_text(HEAD + row.format("a", "b", "a") + row.format("b", "a", "b"))
    said = bench(*sandbox.arguments("plan"), "--plugin", file)
    assert said.code == 2
    assert "its alias leads back to a" in said.err


def test_good_declarations_stay_as_they_are():
    hp = {"rate": 1e-3, "n": 3, "on": True, "none": None, "sizes": (1, 2), "more": {"a": ["b"]}, "ö": "ä\n"}
    alone = method("t", name="Größe 2", id="Ä.b+c-d_e1", hp=hp, needs=Needs(gpu=0.5, gpu_mem_gb=3.5))
    given_to = alone(lambda data, hp, ctx: None)
    assert given_to.__bench_methods__[0].hp == hp
    hp["rate"] = math.nan
    assert given_to.__bench_methods__[0].hp["rate"] == 1e-3, "a copy was declared"
    Space(default="x", choices=("x", "y"))
    assert len(Stage(name="bank", build=print, params={"n": (1, 2)}).address) == 16


def test_a_function_without_a_name_needs_an_id():
    with pytest.raises(BenchError, match="a function without a name needs one"):
        method("t", name="M")(lambda data, hp, ctx: None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just({1, 2}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_passes_can_be_written_as_json(value):
    if plain_problem(value, "hp") is None:
        assert len(digest(value)) == 16
        canonical(value).encode()
