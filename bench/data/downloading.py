"""Files from an address: what was read stays, so that a download that broke off goes on where it did.

Nothing is believed that has another digest than its publisher says.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

from bench.data.preparing import Progress
from bench.errors import BenchError

#: Seconds without a byte after which a connection counts as broken off.
_SILENT_S = 60.0
#: A download that broke off goes on so many times in a row without a byte more.
_TRIES = 3
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A file at an address, and its digest as ``md5:…`` or ``sha256:…``, by whoever states it."""

    url: str
    digest: str
    name: str = ""

    @property
    def file(self) -> str:
        """What the file is called."""
        return self.name or self.url.rpartition("/")[2]


def download(remote: Remote, folder: Path, progress: Progress) -> Path:
    """Bring a file into a folder and compare its digest; a part of it that lies there is gone on from.

    Raises:
        BenchError: it has another digest than stated; the file is removed.
        OSError: there is no connection, or it breaks off again and again; what was read stays.
    """
    file = folder / remote.file
    part = file.with_name(f"{file.name}.part")
    if not file.exists():
        _read_all(remote.url, part, lambda done, total: progress(f"{file.name}: bytes", done, total))
        part.replace(file)
    kind, _, expected = remote.digest.partition(":")
    found = _digest_of(file, kind)
    if found != expected:
        size = file.stat().st_size
        file.unlink()
        raise BenchError(
            f"{remote.url}: {size:,} bytes with the {kind} {found}, expected {expected}: not the published"
            " file"
        )
    return file


def _digest_of(file: Path, kind: str) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, kind).hexdigest()


def _read_all(url: str, part: Path, report: Callable[[int, int], None]) -> None:
    """Read until the file is whole; begin anew where the server cannot go on from the middle."""
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _read(url, part, before, report):
                return
            why: OSError = OSError(f"{url}: the connection broke off")
        except HTTPError as e:
            if e.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.unlink()  # of another file than the one that is there now
                continue
            raise
        except URLError:
            raise  # no connection at all: to try again would only take time
        except (OSError, http.client.HTTPException) as e:
            why = OSError(f"{url}: {e or type(e).__name__}")
        after = part.stat().st_size if part.exists() else 0
        tries = 0 if after > before else tries + 1
        if tries >= _TRIES:
            raise why


def _read(url: str, part: Path, have: int, report: Callable[[int, int], None]) -> bool:
    """Read what is left; whether the file is whole then."""
    headers = {"User-Agent": "gridbench", **({"Range": f"bytes={have}-"} if have else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_SILENT_S) as answer:
        if have and answer.status != http.client.PARTIAL_CONTENT:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else 0
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                report(have, max(total, have))
    return not total or have >= total


def unpack(archive: Path, into: Path) -> None:
    """Unpack an archive, of which nothing may lie outside the folder; the archive goes.

    Raises:
        OSError, shutil.ReadError, tarfile.TarError: it is damaged, or leads out of the folder.
    """
    if archive.suffix == ".zip":  # whose names never lead out
        shutil.unpack_archive(archive, into)
    else:
        shutil.unpack_archive(archive, into, filter="data")
    archive.unlink()


def archives(remotes: Sequence[Remote], below: str = "") -> Callable[[Path, Progress], None]:
    """What brings files and unpacks those that are archives, into a folder below the one that it is given."""

    def bring(folder: Path, progress: Progress) -> None:
        into = folder / below
        into.mkdir(parents=True, exist_ok=True)
        for file in [download(r, into, progress) for r in remotes]:
            if file.name.endswith((".tar.gz", ".tgz", ".zip", ".tar")):
                unpack(file, into)

    return bring
