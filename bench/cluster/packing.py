"""The working directory of a launched sweep: the files that git tracks, and those that options name.

Every node unpacks it under a path of its own, so what the user named (plugins, a suite file) is laid into the
folder `bench.LAUNCHED` of it and named relative to it (see `bench.registry.Origin`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
from bench.contract import BenchError

#: The largest working directory, zipped: Ray keeps it in the head's memory, and every node fetches it.
LIMIT_MB = 100
#: How many files are named if it is larger.
NAMED = 5
#: Folders in which an untracked file is probably meant to be sent.
_CODE = ("bench", "methods", "baselines")


@dataclass(frozen=True, slots=True)
class Packed:
    """A zipped working directory. ``places``: file that the user named -> its path in it."""

    path: Path
    mb: float
    files: int
    places: Mapping[str, str]
    untracked: Sequence[str]


def pack(root: Path, named: Sequence[str], target: Path, commit: Mapping[str, Any]) -> Packed:
    """Zip what git tracks below ``root``, as it is on disk now, and the files that the user named.

    Equal files give equal bytes, so that a cluster is sent them once.

    Args:
        root: the clone.
        named: plugins and suite file, as given.
        target: the zip file to write.
        commit: what records say of the code that ran (`bench.store.provenance.commit`).

    Raises:
        BenchError: ``root`` is no clone, a named file is not there, or the zip is larger than `LIMIT_MB`.
    """
    files = {name: root / name for name in _tracked(root)}
    places = {}
    for n, given in enumerate(named):
        path = Path(given).expanduser().resolve()
        if not path.is_file():
            raise BenchError(f"{given}: no such file")
        inside = path.is_relative_to(root.resolve()) and path.relative_to(root.resolve()).parts[0] in _CODE
        place = path.relative_to(root.resolve()).as_posix() if inside else f"{bench.LAUNCHED}/{n}/{path.name}"
        files[place] = path
        places[given] = place
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out:
        for name, path in sorted(files.items()):
            _add(out, name, path.read_bytes())
        _add(out, f"{bench.LAUNCHED}/commit.json", json.dumps(dict(commit), sort_keys=True).encode())
        sizes = sorted(((i.compress_size, i.filename) for i in out.infolist()), reverse=True)
    mb = target.stat().st_size / 1e6
    if mb > LIMIT_MB:
        largest = ", ".join(f"{name} ({size / 1e6:.0f} MB)" for size, name in sizes[:NAMED])
        raise BenchError(
            f"what would be sent takes {mb:.0f} MB zipped, at most {LIMIT_MB} MB may be. The largest: "
            f"{largest}; untrack what the cluster does not need (git rm --cached), or give an image that has "
            "it (--image)"
        )
    known = {*files}
    return Packed(target, mb, len(files), places, [n for n in _untracked(root) if n not in known])


def _add(out: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name)  # with a fixed time and mode
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    out.writestr(info, data)


def _tracked(root: Path) -> list[str]:
    """Files that git tracks and that are there; a link counts as the file that it leads to."""
    return [n for n in _git(root, "ls-files", "--cached") if (root / n).is_file()]


def _untracked(root: Path) -> list[str]:
    """Python files of ours that git does not know: probably forgotten."""
    found = _git(root, "ls-files", "--others", "--exclude-standard", "--", *_CODE)
    return [n for n in found if n.endswith(".py")]


def _git(root: Path, *words: str) -> list[str]:
    if shutil.which("git") is None or not (root / ".git").exists():
        raise BenchError(
            f"bench launch sends the files that git tracks, and {root} is no clone with git; "
            "give an image that has gridbench (--image)"
        )
    line = ["git", "--no-optional-locks", "-c", f"safe.directory={root}", "-C", str(root), *words, "-z"]
    at = line.index("--") if "--" in words else len(line)
    if "--" in words:  # options go before the paths
        line = [*line[:at], "-z", *line[at:-1]]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise BenchError(f"git could not list the files of {root}: {done.stderr.strip()}")
    return [n for n in done.stdout.split("\0") if n]
