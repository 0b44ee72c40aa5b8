"""Reads a suite file: its values, and the line of every key for messages.

What they mean is said by `bench.suite.model`. The file is the user's, and may come from any editor or from a
stranger: whatever is in it, the answer is its values or a message that names the line.
"""

from __future__ import annotations

import codecs
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from bench.errors import BenchError

#: Values of a suite with its aliases written out: a screen of YAML can stand for billions.
MOST_VALUES = 100_000


class Lines:
    """The line of every key of a YAML file, by path. A key that was merged in through ``<<`` has the line on
    which it was written.
    """

    def __init__(self, file: str, node: yaml.Node | None) -> None:
        self.file, self.at = file, dict[tuple[str, ...], int]()
        if node is not None:
            self._walk(node, ())

    def _walk(self, node: yaml.Node, path: tuple[str, ...], seen: frozenset[int] = frozenset()) -> None:
        self.at.setdefault(path, node.start_mark.line + 1)
        if id(node) in seen:
            return
        seen |= {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for i, child in enumerate(node.value):
                self._walk(child, (*path, str(i)), seen)
        if not isinstance(node, yaml.MappingNode):
            return
        keys: set[str] = set()
        for key, child in node.value:
            name = str(key.value)
            if name == "<<":
                for merged in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    self._walk(merged, path, seen)
                continue
            if name in keys:
                raise BenchError(f"{self.file}:{key.start_mark.line + 1}: key {name!r} appears twice")
            keys.add(name)
            self.at[(*path, name)] = key.start_mark.line + 1
            self._walk(child, (*path, name), seen)

    def where(self, *path: Any) -> str:
        """``file:line: a.b.c``, with the line of the innermost key of that path that is in the file."""
        words = tuple(str(p) for p in path)
        at = next((self.at[words[:n]] for n in range(len(words), -1, -1) if words[:n] in self.at), 1)
        return f"{self.file}:{at}: {'.'.join(words)}"


def read(path: Path) -> tuple[Any, Lines]:
    """The values in a YAML file, and the lines that they stand on.

    Raises:
        BenchError: it cannot be read, it is not UTF-8 or not YAML, or it is nested or repeats itself through
            aliases to a size that no suite has.
    """
    text = _text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and (at := _too_large(node)):
            raise BenchError(
                f"{path}:{at}: more than {MOST_VALUES:,} values, with all aliases written out (or one that"
                " contains itself)"
            )
        return yaml.safe_load(text) or {}, Lines(str(path), node)
    except RecursionError as e:
        raise BenchError(f"{path}: nested too deeply for a suite") from e
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        at_line = f":{mark.line + 1}" if mark else ""
        raise BenchError(f"{path}{at_line}: not YAML: {getattr(e, 'problem', None) or e}") from e
    except ValueError as e:  # a date or a number that there is not
        line = 0 if node is None else _unreadable(node)
        raise BenchError(f"{path}:{line}: a value that YAML cannot read: {e}") from e


def _unreadable(node: yaml.Node) -> int:
    """The line of the first value below a node of which YAML makes no date or number; 0 if there is none."""
    if isinstance(node, yaml.ScalarNode):
        try:
            with suppress(yaml.YAMLError):  # a mark such as <<, which means something in its mapping alone
                yaml.SafeLoader("").construct_object(node)
        except ValueError:
            return node.start_mark.line + 1
        return 0
    inner = [c for i in node.value for c in (i if isinstance(i, tuple) else (i,))]
    return next((line for c in inner if (line := _unreadable(c))), 0)


def _text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BenchError(f"{path}: cannot be read: {e.strerror}") from e
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        kind = "UTF-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "not UTF-8"
        raise BenchError(
            f"{path}:{line}: the file is {kind} (byte {e.start} is {data[e.start]:#04x}): save it as UTF-8"
        ) from e


def _too_large(root: yaml.Node) -> int:
    """The line of a value that has more than `MOST_VALUES` values in it, or contains itself; 0 if none."""
    sizes: dict[int, float] = {}

    def size(node: yaml.Node) -> float:
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # until it is known: whoever meets it again inside itself
            inner = node.value if isinstance(node, yaml.MappingNode | yaml.SequenceNode) else []
            children = [c for i in inner for c in (i if isinstance(i, tuple) else (i,))]
            sizes[id(node)] = 1 + sum(map(size, children))
        return sizes[id(node)]

    return root.start_mark.line + 1 if size(root) > MOST_VALUES else 0
