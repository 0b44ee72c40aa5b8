"""What a method may declare. It is checked where it stands, so that a mistake names its file and line.

Keys, plans, records and boards take what is declared as it is. So what one of them could not hold is refused
before anything runs: a numpy scalar among hyper-parameters, a name that a filter reads as a pattern, a limit
that is no number. What is checked is described by its attributes, since the contract stands above this
module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from bench.errors import BenchError

#: What a setting of a track's ``Grid`` and ``Run`` may be, as the types of its fields: `bench.yaml` is held
#: against them. Where 0 stands for what a recipe says, or for all, it is a `Count` or an `AtLeastZero`.
Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
AtLeastZero = Annotated[float, Ge(0)]
AboveZero = Annotated[float, Gt(0)]
Share = Annotated[float, Gt(0), Le(1)]
LessThanOne = Annotated[float, Ge(0), Lt(1)]

#: What a row and its variants may be called: what ``-m`` reads as one name, and a page shows as it is.
NAME = re.compile(r"[^\W_][\w.+-]*")
#: JSON numbers that every reader of a record takes for the same number.
_LARGEST = 2**63
_DEPTH = 20


def name_problem(name: object) -> str | None:
    """Why this is no name of a row, a variant or a track, or None."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    return f"is {name!r}, expected letters, digits and any of . + - _, with a letter or a digit first"


def plain_problem(value: Any, at: str, depth: int = 0) -> str | None:
    """Why this cannot be written as plain JSON and read back as it was, or None.

    Args:
        value: what was declared.
        at: what it is called in the message.
        depth: how deep it lies in other values.
    """
    kind = type(value)
    if value is None or kind is bool:
        return None
    if kind is str:
        return (
            None if value.isprintable() or _is_unicode(value) else f"{at} is {value!r}, which is no Unicode"
        )
    if kind is int:
        return None if -_LARGEST <= value < _LARGEST else f"{at} has more than 64 bits"
    if kind is float:
        return None if math.isfinite(value) else f"{at} is {value!r}, expected a finite number"
    if depth > _DEPTH:
        return f"{at} is nested more than {_DEPTH} times"
    if kind in (list, tuple):
        parts = [(v, f"{at}[{i}]") for i, v in enumerate(value)]
    elif kind is dict:
        if wrong := [k for k in value if type(k) is not str]:
            return f"{at} has the key {wrong[0]!r}, expected texts as keys"
        parts = [(v, f"{at}[{k!r}]") for k, v in value.items()]
    else:
        return f"{at} is {value!r:.60} ({_kind(value)}), expected {_instead(value)}"
    return next((why for v, name in parts if (why := plain_problem(v, name, depth + 1))), None)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _instead(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return "a list or a tuple: a set has no order"
    if type(value).__module__ == "numpy" or isinstance(value, int | float):
        return "a plain number, such as float(…) or int(…) of it, or a list of them (.tolist())"
    return "a number, a text, true or false, None, or lists and dictionaries of these"


# --------------------------------------------------------------------------------------- limits and resources

#: Field of `bench.contract.Needs` -> whether it may be 0.
_LIMITS = {"cpu": False, "gpu": True, "gpu_mem_gb": False, "mem_gb": False, "minutes": False}


def need_problem(name: str, value: object) -> str | None:
    """Why this is no limit or resource of a cell, or None. ``name``: the field of `bench.contract.Needs`."""
    if name == "accelerator":
        named = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9-]*", value)
        return None if named else f"is {value!r}, expected a type of GPU as Ray names it, such as H100"
    if value is None and name == "gpu_mem_gb":
        return None
    zero = _LIMITS[name]
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0 or not (value or zero):  # type: ignore[arg-type, operator]
        return f"is {value!r}, expected a finite number{', 0 or' if zero else ''} above 0"
    return None


def check_needs(needs: Any, at: str) -> None:
    """Raise `BenchError` unless these are limits that a cell can have."""
    names = [*_LIMITS, "accelerator"]
    if [*getattr(type(needs), "__dataclass_fields__", ())] != names:
        raise BenchError(f"{at} is {needs!r:.60}, expected Needs(…) of bench.contract")
    for name in names:
        if why := need_problem(name, getattr(needs, name)):
            raise BenchError(f"{at}: {name} {why}")


# ------------------------------------------------------------------------------------------- search spaces


def check_space(space: Any) -> None:
    """Raise `BenchError` unless a `bench.contract.Space` has choices or a range, and its default in it.

    That of a run setting has none: `check_method` asks for one where it is of a hyper-parameter.
    """
    for name in ("default", "low", "high", "choices"):
        if why := plain_problem(getattr(space, name), f"Space: {name}"):
            raise BenchError(why)
    low, high, default = space.low, space.high, space.default
    if space.choices:
        if (low, high) != (None, None) or default not in (None, *space.choices):
            raise BenchError(f"Space: expected a default among its choices and no range: {space}")
    elif (low, high) != (None, None):
        numbers = (low, low if default is None else default, high)
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            raise BenchError(f"Space: expected numbers as low, default and high, or choices: {space}")
        if not numbers[0] <= numbers[1] <= numbers[2] or low == high:
            raise BenchError(f"Space: expected low < high and a default between them: {space}")
        if space.log and low <= 0:
            raise BenchError(f"Space: a logarithmic range begins above 0: {space}")


# ----------------------------------------------------------------------------------------------- stages, rows


def check_stage(stage: Any) -> None:
    """Raise `BenchError` unless a `bench.contract.Stage` has an address and can be built."""
    at = f"stage {stage.name!r}"
    if not isinstance(stage.name, str) or not stage.name.strip():
        raise BenchError(f"{at}: expected a name")
    if not callable(stage.build):
        raise BenchError(f"{at}: build is {stage.build!r:.60}, expected a function of a context")
    if not isinstance(stage.shards, int) or stage.shards < 1:
        raise BenchError(f"{at}: shards is {stage.shards!r}, expected 1 or more")
    if why := _mapping_problem(stage.params, "params"):
        raise BenchError(f"{at}: {why}")
    check_needs(stage.needs, f"{at}: needs")


def _mapping_problem(values: Any, at: str) -> str | None:
    if not isinstance(values, Mapping):
        return f"{at} is {values!r:.60} ({_kind(values)}), expected a mapping of names to values"
    return plain_problem(dict(values), at)


def copied(given: Any) -> Any:
    """A copy of a mapping, an empty one for None; what is no mapping is left for `check_method` to refuse."""
    return dict(given or {}) if given is None or isinstance(given, Mapping) else given


def check_method(m: Any) -> None:
    """Raise `BenchError` for the first mistake in what a `bench.contract.Method` declares."""
    name = getattr(m.fn, "__name__", repr(m.fn))
    if why := _method_problem(m):
        raise BenchError(f"{getattr(m.fn, '__module__', '')}: {name}: {why}")


def _method_problem(m: Any) -> str | None:
    if not callable(m.fn):
        return "expected a function of (data, hp, ctx)"
    declared = {"hp": m.hp, "run_spaces": m.run_spaces, "variants": m.variants, "fallback": m.fallback}
    for at, values in declared.items():
        if not isinstance(values, Mapping):
            return f"{at} is {values!r:.60} ({_kind(values)}), expected a mapping"
    if bad := [k for k, v in m.hp.items() if hasattr(v, "choices") and v.default is None]:
        return f"the space of {bad[0]!r} has no default, which is what ranks when nobody searches"
    if bad := [k for k, v in m.run_spaces.items() if not hasattr(v, "choices")]:
        return f"run_spaces: {bad[0]!r} is {m.run_spaces[bad[0]]!r:.60}, expected a Space"
    changes = {**m.variants, "fallback": m.fallback}
    for where, changed in changes.items():
        if not isinstance(changed, Mapping):
            return f"{where!r} is {changed!r:.60}, expected the hyper-parameters that it changes"
        if unknown := [k for k in changed if k not in m.hp]:
            return f"{where!r} sets {unknown[0]!r}, which is not in hp {sorted(map(str, m.hp))}"
    for where, values in {"hp": m.hp, **changes}.items():
        plain = {k: v.default if hasattr(v, "choices") else v for k, v in values.items()}
        if why := plain_problem(plain, "hp" if values is m.hp else f"hp of {where!r}"):
            return why
    return _name_problem(m) or _function_problem(m) or _scalar_problem(m)


def _name_problem(m: Any) -> str | None:
    if why := name_problem(m.id):
        return f"id {why}" + (" (a function without a name needs one)" if m.id == "<lambda>" else "")
    for variant in m.variants:
        if why := name_problem(variant):
            return f"the name of a variant {why}"
    if not isinstance(m.name, str) or not m.name.strip() or not m.name.isprintable():
        return f"name is {m.name!r}, expected what a board prints for it, in one line"
    if not isinstance(m.track, str):
        return f"track is {m.track!r:.60}, expected the name of a track"
    if not m.base and not m.variants:
        return "it has no row: base=False leaves only the variants, and there is none"
    return None


def _function_problem(m: Any) -> str | None:
    """What is asked while a plan is made is a function; what it gives is checked there."""
    for at in ("skip", "alias"):
        if (value := getattr(m, at)) is not None and not callable(value):
            return f"{at} is {value!r:.60}, expected a function or None"
    if callable(m.stages):
        return None
    if not isinstance(m.stages, Sequence) or any(not hasattr(s, "address") for s in m.stages):
        return f"stages is {m.stages!r:.60}, expected a sequence of stages, or a function that gives one"
    return None


def _scalar_problem(m: Any) -> str | None:
    for at, kind in (("base", bool), ("deterministic", bool), ("version", int), ("ref", str)):
        if type(value := getattr(m, at)) is not kind:
            return f"{at} is {value!r:.60} ({_kind(value)}), expected {kind.__name__}"
    if m.counterpart is not None and not _is_pattern(m.counterpart):
        return (
            f"counterpart is {m.counterpart!r:.60}, expected the name of a row; only {{variant}} is filled in"
        )
    try:
        check_needs(m.needs, "needs")
    except BenchError as e:
        return str(e)
    return None


def _is_pattern(text: object) -> bool:
    if not isinstance(text, str) or not text:
        return False
    try:
        return {name for _, name, _, _ in Formatter().parse(text)} <= {"variant", None}
    except ValueError:
        return False
