"""Everything that only a GPU can show, in one command of at most ten minutes: ``make gpu``.

Runs the tests marked ``gpu``, the smoke profile of every track on the GPU in mixed precision (without Ray),
and the benchmarks of training steps (``tests/perf/steps.py``). What each part found is written to one JSON
file as soon as the part has ended; the same command goes on with what is missing or failed.

``--device cpu --small`` goes the same way in small sizes on a machine without a GPU, to try this script.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
#: What a smoke cell may use of the machine: eight side by side. A process that uses CUDA maps several GB of
#: libraries.
NEEDS = {"gpu": 0.125, "mem_gb": 12, "minutes": 3}
STEPS = ("multi-embedding", "dit-xl-2", "clip-vit-b16")
LAST_LINES = 15
#: Exit codes.
DONE, UNFINISHED, NO_DEVICE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the work, in a process of its own.

    ``read``: what it printed -> what is reported, and whether all was well.
    """

    name: str
    command: Sequence[str]
    read: Callable[[str], tuple[dict[str, Any], bool]]


class Report:
    """The JSON file: what is known of the machine, and of each part that has ended."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.values: dict[str, Any] = {**about, "parts": {}}
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            before, now = ({k: v for k, v in of.items() if k in SAME} for of in (found, about))
            if before != now:
                raise SystemExit(
                    f"{path} is of {before}, this is {now}: --again starts over, --out names another"
                )
            self.values["parts"] = found["parts"]

    def done(self, part: Part) -> bool:
        """Whether a part has ended well."""
        return bool(self.values["parts"].get(part.name, {}).get("state") == "ok")

    def add(self, part: Part, state: str, seconds: float, **more: Any) -> None:
        """Write how a part ended; where the environment names a folder ``$OUT``, there too."""
        self.values["parts"][part.name] = {"state": state, "seconds": round(seconds, 1), **more}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.values, indent=1) + "\n"
        new = self.path.with_name(self.path.name + ".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.path)
        if out := os.environ.get("OUT"):
            (Path(out) / "gpu.json").write_text(text, encoding="utf-8")


#: What has to be the same for results to stand in one file.
SAME = ("device", "small")


def about(device: str, *, small: bool) -> dict[str, Any]:
    """What the report says of the machine and of the code."""
    import torch

    from bench.store import provenance

    cuda = device == "cuda"
    card = torch.cuda.get_device_properties(0) if cuda else None
    return {
        "device": card.name if card else f"{platform.machine()} CPU",
        "device_memory_gib": round(card.total_memory / 2**30, 1) if card else None,
        "small": small,
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        **provenance.commit(),
        "trimmed": trimmed(),
    }


def trimmed() -> list[str]:
    """Packages here that `scripts/wheels_for_gpu.py` has cut down: results that rest on them mean nothing."""
    return sorted(
        d.metadata["Name"] for d in metadata.distributions() if d.read_text("GRIDBENCH-TRIMMED") is not None
    )


# -------------------------------------------------------------------------------------------------- the parts


def parts(work: Path, device: str, *, small: bool) -> list[Part]:
    """All parts, in the order in which they run."""
    return [tests(work), *smoke(work, device, small=small), *(steps(n, device, small=small) for n in STEPS)]


def tests(work: Path) -> Part:
    """The tests marked ``gpu``: those files alone are read, since others ask for more packages."""
    files = sorted(
        str(f.relative_to(ROOT))
        for f in (ROOT / "tests").rglob("test_*.py")
        if "mark.gpu" in f.read_text(encoding="utf-8")
    )
    xml = work / "tests.xml"
    command = ["-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", "--junitxml", str(xml), *files]

    def read(printed: str) -> tuple[dict[str, Any], bool]:
        suite = ElementTree.parse(xml).getroot().find("testsuite")
        assert suite is not None
        counts = {k: int(suite.attrib[k]) for k in ("tests", "failures", "errors", "skipped")}
        return counts, counts["failures"] + counts["errors"] == 0

    return Part("tests", command, read)


def smoke(work: Path, device: str, *, small: bool) -> list[Part]:
    """The smoke profile of every track; cells that have run are not run again."""
    from bench.registry import Registry
    from bench.suite import Suite

    registry, ranked, tracks = Registry(), Suite.read(ROOT / "bench.yaml").tracks, dict[str, Any]()
    for name in registry.track_names():
        track = registry.track(name)
        grid, run = track.smoke()
        profile: dict[str, Any] = {"grid": asdict(grid), "run": asdict(run)}
        if device == "cuda":
            profile["needs"] = {"*": NEEDS}
        if small:
            profile["rows"] = [track.reference]
        tracks[name] = {"ranks_by": ranked[name].ranks_by, "smoke": profile}
    suite, store = work / "suite.yaml", work / "store"  # JSON is YAML
    suite.write_text(json.dumps({"profiles": {"smoke": {"seeds": 1}}, "tracks": tracks}), encoding="utf-8")
    common = ["-m", "bench.cli", "run", "-p", "smoke", "--local", "--fresh", "--failed"]
    return [
        Part(
            f"smoke {name}",
            [*common, "--suite", str(suite), "--store", str(store), "-t", name],
            lambda printed, name=name: cells(store, name, device),
        )
        for name in tracks
    ]


def cells(folder: Path, track: str, device: str) -> tuple[dict[str, Any], bool]:
    """How the cells and stages of a track ended."""
    from bench.store.records import Store

    store = Store.open(str(folder))
    every = [r for key in store.summaries() if (r := store.read(key)) is not None]
    records = [r for r in every if r.cell["track"] == track]
    ran = [r for r in records if r.kind == "cell" and r.status != "skipped"]
    bad = {
        r.cell.get("row") or r.cell["stage"]: f"{r.status}: {r.reason} {r.error.get('message', '')}".strip()
        for r in records
        if r.status not in ("ok", "skipped")
    }
    elsewhere = sorted({r.cell["row"] for r in ran if r.where["device"] != device})
    found = {
        "statuses": dict(Counter(r.status for r in records)),
        "run_s": round(sum(r.cost["run_s"] for r in ran), 1),
        "device_memory_mib": round(max((r.cost.get("gpu_mem_mb", 0.0) for r in ran), default=0.0)),
        "ended_badly": bad,
        "not_on_the_device": elsewhere,
    }
    return found, bool(ran) and not bad and not elsewhere


def steps(name: str, device: str, *, small: bool) -> Part:
    """The part that runs one benchmark of training steps."""
    command = ["tests/perf/steps.py", name, "--device", device, *(["--small"] if small else [])]
    return Part(f"steps {name}", command, lambda printed: (json.loads(printed.splitlines()[-1]), True))


# ----------------------------------------------------------------------------------------------- running them


def run(part: Part, work: Path, report: Report, limit_s: float) -> None:
    """Run one part to its end or its limit, and write what became of it into the report."""
    log = work / f"{part.name.replace(' ', '-')}.log"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *PATH)), "PYTHONUNBUFFERED": "1"}
    env.setdefault("CUDA_VISIBLE_DEVICES", "0")
    started = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *part.command],
            cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            printed = process.communicate(timeout=limit_s)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            report.add(part, "timeout", time.monotonic() - started, limit_s=round(limit_s))
            return
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        out.write(printed.encode())
    spent = time.monotonic() - started
    try:
        found, good = part.read(printed)
    except (ValueError, LookupError, OSError, ElementTree.ParseError) as e:
        found, good = {"unreadable": f"{type(e).__name__}: {e}"}, False
    if good and process.returncode == 0:
        report.add(part, "ok", spent, result=found)
    else:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        report.add(part, "failed", spent, result=found, exit_code=process.returncode, last_lines=lines)


#: What was on the path before: packages carried to a bare machine.
PATH = tuple(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code."""
    chosen = options(arguments)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # a bare machine has not installed gridbench
    import torch

    if chosen.device == "cuda" and not torch.cuda.is_available():
        why = (
            "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        )
        print(f"no GPU here ({why}). --device cpu --small tries the script without one.", file=sys.stderr)
        return NO_DEVICE
    work = chosen.out.parent / chosen.out.stem
    if chosen.again:
        chosen.out.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    report = Report(chosen.out, about(chosen.device, small=chosen.small))
    deadline, all_parts = (
        time.monotonic() + 60 * chosen.minutes,
        parts(work, chosen.device, small=chosen.small),
    )
    for part in all_parts:
        left = deadline - time.monotonic()
        if not report.done(part) and left > 5:
            print(f"{part.name} ...", flush=True)
            run(part, work, report, min(left, chosen.limit))
            print(f"{part.name}: {line(report.values['parts'][part.name])}", flush=True)
    missing = [p.name for p in all_parts if not report.done(p)]
    print(f"{chosen.out}: {len(all_parts) - len(missing)} of {len(all_parts)} parts done")
    if missing:
        print(f"the same command goes on with: {', '.join(missing)}", file=sys.stderr)
    return UNFINISHED if missing else DONE


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="the reference row of each track, tiny networks")
    parser.add_argument("--again", action="store_true", help="start over instead of going on")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="start and run nothing after that (default 9)"
    )
    parser.add_argument(
        "--limit", type=float, default=180, help="end a part after so many seconds (default 180)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "gpu.json", help="default: build/gpu.json"
    )
    chosen = parser.parse_args(arguments)
    chosen.out = chosen.out.resolve()
    return chosen


def line(part: dict[str, Any]) -> str:
    """The outcome of a part in one line."""
    words = f"{part['state']} in {part['seconds']:g} s"
    if part["state"] != "ok":
        return "\n  ".join((words, *part.get("last_lines", ())))
    if "ratio" not in part["result"]:
        return f"{words}: {json.dumps(part['result'])}"
    ours, plain = part["result"]["ours"], part["result"]["plain"]
    return (
        f"{words}: {ours['steps_per_second']:.2f} steps a second, {part['result']['ratio']:.2f} x the plain"
        f" loop; memory {number(ours['peak_memory_gib'])} and {number(plain['peak_memory_gib'])} GiB; "
        f"share of the card's peak {number(ours['share_of_peak'])} and {number(plain['share_of_peak'])}"
    )


def number(value: float | None) -> str:
    """A number with two significant digits; a word if it is not known."""
    return "unknown" if value is None else f"{value:.2g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
