"""Built stages: a folder for each address and shard, with a manifest against which its files are verified."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from bench.contract import BenchError, Stage, digest
from bench.file_digest import read_digest
from bench.store.files import Files, LocalFiles, StoreError, check_key, check_parts

MANIFEST = "manifest.json"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)
#: Stages that ship with the package, so that no user has to build them.
EMBEDDED = Path(__file__).resolve().parents[1] / "data" / "embedded" / "stages"

_Manifest = Mapping[str, Any]


class Stages:
    """The stages of one store: ``stages/<address>/<shard>/`` with ``manifest.json`` (sizes and sha-256 of its
    files).

    On an object store the files lie in ``stages/<address>/<shard>/<digest>/`` and the manifest is put last,
    so two builds never mix. ``problems``: sentences on the stages that were found damaged.
    """

    def __init__(self, files: Files, cache: Path, embedded: Path = EMBEDDED) -> None:
        self._files, self._cache, self._embedded = files, cache, embedded
        self._verified: dict[Path, tuple[Any, ...]] = {}
        self.problems: list[str] = []

    def stage_path(self, stage: Stage, *, thorough: bool = True) -> Path | None:
        """A local folder with a complete stage, or None if it has to be built.

        The stage is looked up in the store (from an object store it is downloaded once into the local cache),
        then among those that ship with the package. A stage of one shard is that shard's folder, else the
        folder that holds ``0``, ``1``, … A damaged shard is set aside and counts as absent.

        Args:
            stage: as declared.
            thorough: verify every file by its sha-256 (once a process, and again when a file's size or time
                changes); otherwise sizes only, for a process whose parent has just verified it.
        """
        address, shards = check_key(stage.address), range(stage.shards)
        base = self._local(address) if self._files.root is not None else self._download(address, stage.shards)
        if base is None or not all(
            self._sound(base / str(i), address, i, thorough, in_store=True) for i in shards
        ):
            base = self._embedded / address
            if not all(self._sound(base / str(i), address, i, thorough, in_store=False) for i in shards):
                return None
        return base / "0" if stage.shards == 1 else base

    def stage_digest(self, stage: Stage) -> str | None:
        """Digest of a complete stage's files by its manifests (the files are not opened), or None if it is
        not built.
        """
        address, shards = check_key(stage.address), range(stage.shards)
        found = [self._manifest(address, i) for i in shards]
        if not all(found):
            found = [_load(self._embedded / address / str(i), address, i) for i in shards]
        return _joined([m["digest"] for m in found if m]) if all(found) else None

    def has_shard(self, address: str, shard: int) -> bool:
        """Whether one shard of a stage is in this store already."""
        return self._manifest(check_key(address), shard) is not None

    def shard_digest(self, address: str, shard: int) -> str | None:
        """Digest of one shard's files by its manifest, None if this store does not have it."""
        manifest = self._manifest(check_key(address), shard)
        return None if manifest is None else str(manifest["digest"])

    def copy_shard(self, address: str, shard: int, folder: Path) -> None:
        """Copy the files of a shard of this store into a folder, verified.

        Raises:
            BenchError: the store does not have it, or one of its files is damaged.
            StoreError: the store cannot be read.
        """
        manifest = self._manifest(check_key(address), shard)
        if manifest is None:
            raise BenchError(f"stage {address} shard {shard} is not in {self._files.url}")
        at = f"stages/{address}/{shard}" + ("" if self._files.root is not None else f"/{manifest['digest']}")
        for name, file in manifest["files"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                self._files.get(f"{at}/{name}", folder / name)
            except OSError as error:
                raise StoreError(f"cannot copy {self._files.url}/{at}/{name}: {error}") from error
            if read_digest(folder / name) != file["sha256"]:
                raise BenchError(f"stage {address} shard {shard} in {self._files.url}: {name} is damaged")

    def put_stage(self, address: str, shard: int, folder: Path, *, replace: bool = False) -> str:
        """Publish a built shard, complete or not at all, and return the digest of what the store then has.

        The first of two builds wins, unless ``replace``: then the build in the store is stale and is replaced
        if its files differ (moved to ``aside/``; in an object store only the manifest is replaced). A cell of
        another driver that reads it at that moment may fail or mix the two; its record names the old digest
        and so is stale. ``folder`` is moved if it is on the same file system, else copied.

        Raises:
            BenchError: ``folder`` is empty, or holds a link or a file of the name ``manifest.json``.
            StoreError: the store cannot be written.
        """
        check_key(address)
        made = _describe(folder, address, shard)
        try:
            if isinstance(self._files, LocalFiles):
                return self._publish(self._files, made, folder, replace)
            there = self._manifest(address, shard)
            if there is not None and (not replace or there["digest"] == made["digest"]):
                return str(there["digest"])
            at = f"stages/{address}/{shard}"
            for name in made["files"]:
                self._files.put(f"{at}/{made['digest']}/{name}", folder / name)
            self._files.write(f"{at}/{MANIFEST}", _dump(made))
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"cannot publish stage {address}/{shard} to {self._files.url}: {error.strerror or error}"
            ) from error
        return str(made["digest"])

    # ----------------------------------------------------------------------------------------------- a folder

    def _local(self, address: str) -> Path:
        assert self._files.root is not None
        return self._files.root / "stages" / address

    def _publish(self, files: LocalFiles, made: _Manifest, folder: Path, replace: bool) -> str:
        address, shard = str(made["address"]), int(made["shard"])
        target = self._local(address) / str(shard)
        scratch = files.scratch()
        try:
            _take(folder, scratch)
            (scratch / MANIFEST).write_bytes(_dump(made))
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(scratch, target)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                there = _load(target, address, shard)
                if replace and there is not None and there["digest"] != made["digest"]:
                    self._set_aside(target, "is stale")
                elif there is not None and self._sound(target, address, shard, True, in_store=True):
                    return str(there["digest"])
                elif target.exists():  # without a manifest: not one of ours
                    self._set_aside(target, "is damaged (it has no valid manifest)")
                os.rename(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return str(made["digest"])

    def _sound(self, folder: Path, address: str, shard: int, thorough: bool, *, in_store: bool) -> bool:
        """Whether a shard's folder is complete and as its manifest says.

        If it is not, and lies in this store (``in_store``), it is set aside.
        """
        if not folder.is_dir():
            return False
        manifest = _load(folder, address, shard)
        why = "it has no valid manifest" if manifest is None else self._damage(folder, manifest, thorough)
        if not why:
            return True
        if in_store:
            self._set_aside(folder, f"is damaged ({why})")
        else:
            self.problems.append(f"{folder} is damaged: {why}")
        return False

    def _damage(self, folder: Path, manifest: _Manifest, thorough: bool) -> str:
        """What is wrong with the files of a shard, or ""."""
        seen: list[Any] = [manifest["digest"]]
        for name, file in manifest["files"].items():
            try:
                stat = (folder / name).stat()
            except FileNotFoundError:
                return f"{name} is missing"
            if stat.st_size != file["size"]:
                return f"{name} has {stat.st_size} bytes, not {file['size']}"
            seen.append((name, stat.st_size, stat.st_mtime_ns))
        if not thorough or self._verified.get(folder) == tuple(seen):
            return ""
        for name, file in manifest["files"].items():
            if read_digest(folder / name) != file["sha256"]:
                return f"{name} is not what was written"
        self._verified[folder] = tuple(seen)
        return ""

    def _set_aside(self, folder: Path, state: str) -> None:
        """Move a damaged or stale shard to the store's ``aside/``, or delete it if it is only a cached copy.
        ``state`` completes the sentence on it, for example "is stale".
        """
        root = self._files.root
        if root is None:
            shutil.rmtree(folder, ignore_errors=True)
            self.problems.append(f"cached stage {folder} {state}; it is fetched again")
            return
        to = root / "aside" / f"stage-{folder.parent.name}-{folder.name}-{secrets.token_hex(3)}"
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            os.rename(folder, to)
        except FileNotFoundError:
            return  # another process did it first
        except OSError as error:
            self.problems.append(f"stage {folder} {state}; it cannot be moved to aside/: {error}")
        else:
            self.problems.append(f"stage {folder} {state}; moved to {to}")

    # ---------------------------------------------------------------------------------------- an object store

    def _manifest(self, address: str, shard: int) -> _Manifest | None:
        """The manifest of a shard in the store, None if there is none that is valid."""
        try:
            return _read(self._files.read(f"stages/{address}/{shard}/{MANIFEST}"), address, shard)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot read stage {address} of {self._files.url}: {error}") from error

    def _download(self, address: str, shards: int) -> Path | None:
        """Download a stage from an object store into the cache, under its digest; returns its
        folder there. Of all who want it on this machine one downloads it, and the others wait.
        """
        manifests = [self._manifest(address, i) for i in range(shards)]
        known = [m for m in manifests if m is not None]
        if len(known) < shards:
            return None
        base = self._cache / "stages" / f"{address}-{_joined([m['digest'] for m in known])}"
        for shard, manifest in enumerate(known):
            folder = base / str(shard)
            with _alone(self._cache / "tmp" / f"stage-{base.name}-{shard}.lock"):
                if self._sound(folder, address, shard, True, in_store=True):
                    continue
                if not self._fetch(address, shard, manifest, folder):
                    return None
        return base

    def _fetch(self, address: str, shard: int, manifest: _Manifest, folder: Path) -> bool:
        """Download one shard; False if what lies in the store is damaged (its manifest is then set aside)."""
        at = f"stages/{address}/{shard}"
        scratch = self._cache / "tmp" / f"{os.getpid()}-{secrets.token_hex(6)}"
        try:
            for name in manifest["files"]:
                target = scratch / name
                target.parent.mkdir(parents=True, exist_ok=True)
                self._files.get(f"{at}/{manifest['digest']}/{name}", target)
            (scratch / MANIFEST).write_bytes(_dump(manifest))
            if why := self._damage(scratch, manifest, thorough=True):
                raise FileNotFoundError(why)
            folder.parent.mkdir(parents=True, exist_ok=True)
            os.rename(scratch, folder)
        except FileNotFoundError as error:
            to = self._files.set_aside(f"{at}/{MANIFEST}")
            self.problems.append(f"{self._files.url}/{at} is damaged ({error}); its manifest moved to {to}")
            return False
        except OSError as error:
            if error.errno in _TAKEN:
                return True  # another process fetched it meanwhile; it is verified next
            raise StoreError(f"cannot fetch {self._files.url}/{at} into {folder}: {error}") from error
        finally:
            self._verified.pop(scratch, None)
            shutil.rmtree(scratch, ignore_errors=True)
        return True


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Be the only one of this machine, thread or process, in such a block. The kernel gives the lock of a
    process that dies to the next.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks, or read-only: several may do the same work
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _describe(folder: Path, address: str, shard: int) -> _Manifest:
    """The manifest of a folder that was just built."""
    files: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BenchError(
                f"stage {address} shard {shard}: {name} is a link or a device: a stage is made of files"
            )
        if name == MANIFEST:
            raise BenchError(
                f"stage {address} shard {shard}: the name {MANIFEST} at the top is the store's own"
            )
        if path.is_file():
            files[check_parts(name)] = {"size": path.stat().st_size, "sha256": read_digest(path)}
    if not files:
        raise BenchError(f"stage {address} shard {shard} wrote no file into its folder")
    return {"schema": 1, "address": address, "shard": shard, "files": files, "digest": digest(files)}


def _dump(manifest: _Manifest) -> bytes:
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def _load(folder: Path, address: str, shard: int) -> _Manifest | None:
    try:
        return _read((folder / MANIFEST).read_bytes(), address, shard)
    except FileNotFoundError:
        return None


def _read(data: bytes, address: str, shard: int) -> _Manifest | None:
    """A manifest, or None if it is damaged, of another shard, or names a file outside its folder."""
    try:
        found = orjson.loads(data)
        files = {
            check_parts(name): {"size": int(f["size"]), "sha256": str(f["sha256"])}
            for name, f in found["files"].items()
        }
        right = (found["address"], found["shard"], found["digest"]) == (address, shard, digest(files))
    except (ValueError, KeyError, TypeError, AttributeError, BenchError):
        return None
    made = {"schema": 1, "address": address, "shard": shard, "files": files, "digest": digest(files)}
    return made if right and files else None


def _joined(digests: list[str]) -> str:
    """One digest for all shards: the shard's own if there is one."""
    return digests[0] if len(digests) == 1 else digest(digests)


def _take(folder: Path, to: Path) -> None:
    """Move a folder, by copying if it lies on another file system."""
    try:
        os.rename(folder, to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(folder, to)
