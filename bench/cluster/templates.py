"""Files that start a cluster for a plan: a RayJob, a Slurm script, a file of Ray's launcher for AWS."""

from __future__ import annotations

import json
import math
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import bench
from bench.cluster.shapes import Shape
from bench.contract import BenchError
from bench.errors import nearest

#: What `render` can write -> the template, and the name of the file.
KINDS: Mapping[str, tuple[str, str]] = {
    "kuberay": ("kuberay.yaml.j2", "gridbench-kuberay.yaml"),
    "slurm": ("slurm.sh.j2", "gridbench-slurm.sh"),
    "aws": ("aws.yaml.j2", "gridbench-aws.yaml"),
}
_TEMPLATES = Path(__file__).parent / "templates"
#: Share of a machine's memory that Ray gives to cells unless it is told otherwise.
_GIVEN = 0.65
#: Instances of AWS: name -> processors, GB, GPUs, GB of one of these and its type as Ray names it; of those
#: with one type the smallest come first, and newer types before older ones.
_INSTANCES: Mapping[str, tuple[int, int, int, int, str]] = {
    "m7i.xlarge": (4, 16, 0, 0, ""),
    "m7i.2xlarge": (8, 32, 0, 0, ""),
    "m7i.4xlarge": (16, 64, 0, 0, ""),
    "m7i.8xlarge": (32, 128, 0, 0, ""),
    "m7i.16xlarge": (64, 256, 0, 0, ""),
    "m7i.24xlarge": (96, 384, 0, 0, ""),
    "g6.xlarge": (4, 16, 1, 24, "L4"),
    "g6.2xlarge": (8, 32, 1, 24, "L4"),
    "g6.4xlarge": (16, 64, 1, 24, "L4"),
    "g6.8xlarge": (32, 128, 1, 24, "L4"),
    "g6e.4xlarge": (16, 128, 1, 48, "L40S"),
    "g6e.8xlarge": (32, 256, 1, 48, "L40S"),
    "g6.12xlarge": (48, 192, 4, 24, "L4"),
    "g6e.12xlarge": (48, 384, 4, 48, "L40S"),
    "g6.48xlarge": (192, 768, 8, 24, "L4"),
    "g6e.48xlarge": (192, 1536, 8, 48, "L40S"),
    "p5.4xlarge": (16, 256, 1, 80, "H100"),
    "p5.48xlarge": (192, 2048, 8, 80, "H100"),
    "p5en.48xlarge": (192, 2048, 8, 141, "H200"),
    "p4d.24xlarge": (96, 1152, 8, 40, "A100"),
    "p4de.24xlarge": (96, 1152, 8, 80, "A100"),
    "g5.xlarge": (4, 16, 1, 24, "A10G"),
    "g5.2xlarge": (8, 32, 1, 24, "A10G"),
    "g5.4xlarge": (16, 64, 1, 24, "A10G"),
    "g5.8xlarge": (32, 128, 1, 24, "A10G"),
    "g5.12xlarge": (48, 192, 4, 24, "A10G"),
    "g5.48xlarge": (192, 768, 8, 24, "A10G"),
    "g4dn.xlarge": (4, 16, 1, 16, "T4"),
    "g4dn.2xlarge": (8, 32, 1, 16, "T4"),
    "g4dn.4xlarge": (16, 64, 1, 16, "T4"),
    "g4dn.8xlarge": (32, 128, 1, 16, "T4"),
    "g4dn.12xlarge": (48, 192, 4, 16, "T4"),
}
#: Type of GPU as Ray names it -> the label ``nvidia.com/gpu.product`` of nodes with one of its kinds.
_PRODUCTS: Mapping[str, str] = {
    "A100": "NVIDIA-A100-SXM4-80GB",
    "H100": "NVIDIA-H100-80GB-HBM3",
    "T4": "Tesla-T4",
    "V100": "Tesla-V100-SXM2-16GB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a file is written for.

    ``profile``: the profile of the plan. ``shapes``: see `bench.cluster.shapes`, at least one. ``arguments``:
    what follows ``bench run``, word by word. ``store``: the store, "" for the default one. ``image``: the
    container image. ``nodes``: the most machines of one shape. ``about``: one line on the plan and its cost.
    ``file``: the file's own name.
    """

    profile: str
    shapes: Sequence[Shape]
    arguments: Sequence[str]
    store: str
    image: str
    nodes: int
    about: str
    file: str


def check_kind(kind: str) -> None:
    """Raise `BenchError` unless there is a template of that name."""
    if kind not in KINDS:
        raise BenchError(f"bench cluster init {kind}: expected {', '.join(KINDS)}{nearest(kind, KINDS)}")


def render(kind: str, wanted: Wanted) -> str:
    """The file of one kind, with comments that say how it is used.

    Raises:
        BenchError: there is no such kind, or (aws) no instance is large enough.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    check_kind(kind)
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.filters |= {"quoted": json.dumps, "minutes": _minutes, "instance": _instance, "product": _product}
    first = wanted.shapes[0]
    words = {
        "made": f"Written by `bench cluster init {kind}`. {wanted.about}",
        "name": _name(wanted.profile),
        "command": shlex.join(["bench", "run", *wanted.arguments]),
        "arguments": shlex.join(wanted.arguments),
        "first": first,
        "nodes_wanted": min(first.most, wanted.nodes),
        "workers": sum(min(s.most, wanted.nodes) for s in wanted.shapes),
        "time": _slurm_time(max(s.minutes for s in wanted.shapes)),
        "ray": metadata.version("ray"),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "version": bench.__version__,
        "store": shlex.quote(wanted.store) if wanted.store else "",
        "clone": str(bench.CLONE or "PATH-OF-YOUR-CLONE"),
    }
    fields: dict[str, Any] = {f: getattr(wanted, f) for f in ("profile", "shapes", "image", "nodes", "file")}
    return env.get_template(KINDS[kind][0]).render(**words, **fields)


def _name(profile: str) -> str:
    """A name that Kubernetes, Slurm and AWS take: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", f"gridbench-{profile}".lower()).strip("-")[:40]


def _minutes(minutes: float) -> str:
    return f"{minutes:g} minutes" if minutes < 120 else f"{minutes / 60:g} hours"


def _slurm_time(minutes: float) -> str:
    """Time for the longest cell and an hour around it, at least four hours, as days-hours:minutes:seconds."""
    hours = max(4, math.ceil(minutes / 60) + 1)
    return f"{hours // 24}-{hours % 24:02}:00:00"


def _instance(shape: Shape) -> str:
    """The smallest instance on which a shape fits; `BenchError` if there is none."""
    types = {kind for *_, kind in _INSTANCES.values() if kind}
    if shape.accelerator and shape.accelerator not in types:
        raise BenchError(
            f"no instance of AWS that is known here has a GPU of type {shape.accelerator} (needs: in "
            f"bench.yaml), only {', '.join(sorted(types))}{nearest(shape.accelerator, types)}"
        )
    for name, (cpu, mem_gb, gpu, gpu_mem_gb, kind) in _INSTANCES.items():
        fits = cpu >= shape.cpu and mem_gb * _GIVEN >= shape.mem_gb and gpu_mem_gb >= shape.gpu_mem_gb
        right = gpu >= shape.gpu and shape.accelerator in ("", kind) if shape.gpu else gpu == 0
        if fits and right:
            return name
    raise BenchError(
        f"no instance of AWS that is known here has {shape.cpu} processors, {shape.whole_gb} GB and "
        f"{shape.gpus}: lower `needs` in bench.yaml, or choose cells (-t, -m)"
    )


def _product(accelerator: str) -> str:
    """What NVIDIA's device plugin calls a GPU of a type on the nodes of Kubernetes."""
    return _PRODUCTS.get(accelerator, f"NVIDIA-{accelerator}")
