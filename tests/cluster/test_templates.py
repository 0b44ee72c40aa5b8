"""Files that start a cluster: valid for what reads them, made of the plan's shapes, with a token."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bench.cluster.shapes import Shape
from bench.cluster.templates import KINDS, Wanted, render
from bench.contract import BenchError

HERE = Path(__file__).parent
WIDE = Shape(cpu=32, gpu=8, mem_gb=256, gpu_mem_gb=70, minutes=2880, cells=4, at_once=1)
SINGLE = Shape(cpu=4, gpu=1, mem_gb=32, gpu_mem_gb=0, minutes=600, cells=160, at_once=1)
SHARED = Shape(cpu=2, gpu=1, mem_gb=8, gpu_mem_gb=10, minutes=30, cells=9, at_once=2)
CPU = Shape(cpu=8, gpu=0, mem_gb=32, gpu_mem_gb=0, minutes=10, cells=12, at_once=8)
TYPED = replace(WIDE, accelerator="H100", cells=9)
GRIDS = {
    "one": [SINGLE], "all": [WIDE, SINGLE, CPU], "shared": [SHARED], "cpu": [CPU], "typed": [TYPED, WIDE],
}  # fmt: skip


def written(kind, shapes, **changed):
    arguments = ["-p", "paper", "-k", "task=a b|c", "--store", "s3://bucket/it's"]
    wanted = Wanted(**{
        "profile": "paper", "shapes": shapes, "arguments": arguments, "store": "s3://bucket/it's", "nodes": 6,
        "image": 'registry/"gridbench":1', "about": "173 cells are to be run.", "file": "mine", **changed,
    })  # fmt: skip
    return render(kind, wanted)


@pytest.mark.parametrize("name", GRIDS)
def test_kuberay_has_no_field_that_the_published_definition_lacks(name):
    jsonschema = pytest.importorskip("jsonschema")
    made = yaml.safe_load(written("kuberay", GRIDS[name]))
    schema = json.loads((HERE / "rayjob-v1.7.json").read_text())
    jsonschema.validate(made, schema)
    for wrong in ("enableInTreeAutoscaler", "authOption"):
        made["spec"]["rayClusterSpec"][wrong] = True
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(made, schema)
        del made["spec"]["rayClusterSpec"][wrong]


@pytest.mark.parametrize("name", GRIDS)
def test_aws_is_what_rays_launcher_reads(name):
    jsonschema, ray = pytest.importorskip("jsonschema"), pytest.importorskip("ray")
    made = yaml.safe_load(written("aws", GRIDS[name]))
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(made, schema)
    assert made["head_node_type"] in made["available_node_types"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**made, "idle_timeout": 5}, schema)


@pytest.mark.parametrize("name", GRIDS)
def test_slurm_is_a_script_that_a_shell_reads(name, tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(written("slurm", GRIDS[name]))
    read = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")
    lines = path.read_text().splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert all(lines.index(o) < first_command for o in options), "Slurm reads no option after a command"
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:TERM@120"} <= set(options)


def test_worker_groups_and_bounds_are_the_plans():
    made = yaml.safe_load(written("kuberay", GRIDS["all"]))
    groups = {g["groupName"]: g for g in made["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    assert {n: (g["minReplicas"], g["maxReplicas"]) for n, g in groups.items()} == {
        "gpu-8": (0, 4), "gpu-1": (0, 6), "cpu": (0, 2),
    }  # fmt: skip
    limits = {n: g["template"]["spec"]["containers"][0]["resources"]["limits"] for n, g in groups.items()}
    assert limits["gpu-8"] == {"cpu": "32", "memory": "260Gi", "nvidia.com/gpu": "8"}
    assert limits["cpu"] == {"cpu": "8", "memory": "36Gi"}
    assert groups["gpu-1"]["rayStartParams"] == {"memory": str(32 * 2**30)}, "the rest is Ray's own"
    types = yaml.safe_load(written("aws", GRIDS["all"]))["available_node_types"]
    instances = {n: t["node_config"]["InstanceType"] for n, t in types.items()}
    assert instances == {
        "head": "m7i.large",
        "gpu-8": "p5.48xlarge",
        "gpu-1": "g6.4xlarge",
        "cpu": "m7i.4xlarge",
    }
    slurm = written("slurm", GRIDS["all"])
    assert "--nodes=4\n" in slurm
    assert "--gpus-per-node=8\n" in slurm
    assert "--time=2-01:00:00\n" in slurm
    assert "160 cells and stages that ask for machines of another kind" in slurm


def test_machines_have_the_type_of_gpu_that_cells_ask_for():
    made = yaml.safe_load(written("kuberay", GRIDS["typed"]))
    typed, other = made["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (typed["groupName"], other["groupName"]) == ("gpu-8-h100", "gpu-8")
    assert typed["template"]["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    # The operator puts this word into a shell's line; the autoscaler takes the outer quotes off, and the
    # backslashes.
    word = typed["rayStartParams"]["resources"]
    assert json.loads(word[1:-1].replace("\\", "")) == {"accelerator_type:H100": 1}
    assert "nodeSelector" not in other["template"]["spec"]
    assert "resources" not in other["rayStartParams"]
    types = yaml.safe_load(written("aws", [replace(SINGLE, accelerator="T4")]))["available_node_types"]
    assert types["gpu-1-t4"]["node_config"]["InstanceType"] == "g4dn.4xlarge"
    slurm = written("slurm", GRIDS["typed"])
    assert "#SBATCH --gpus-per-node=h100:8\n" in slurm
    assert "(32 processors, 8 GPUs of 70 GB,\n" in slurm
    assert "#SBATCH --gpus-per-node=h100:8\n" in written("slurm", [TYPED])
    for asked, said in (("H10", "of type H10 .* did you mean 'H100'"), ("L4", "8 L4 GPUs of 70 GB: lower")):
        with pytest.raises(BenchError, match=said):
            written("aws", [replace(WIDE, accelerator=asked)])


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_has_the_token_on_and_no_secret(kind):
    text = written(kind, GRIDS["one"])
    assert {"kuberay": "authOptions: {mode: token}", "slurm": "export RAY_AUTH_MODE=token",
            "aws": "RAY_AUTH_MODE=token ray start --head"}[kind] in text  # fmt: skip
    assert "173 cells are to be run." in text
    assert all(line.startswith("#") or len(line) < 400 for line in text.splitlines())


def test_what_is_typed_is_quoted():
    made = yaml.safe_load(written("kuberay", GRIDS["one"]))
    assert (
        made["spec"]["entrypoint"] == """bench run -p paper -k 'task=a b|c' --store 's3://bucket/it'"'"'s'"""
    )
    image = made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert image == 'registry/"gridbench":1'
    assert yaml.safe_load(written("kuberay", GRIDS["one"], profile="My_Big.One"))["metadata"]["name"] == (
        "gridbench-my-big-one"
    )


def test_what_cannot_be_written_is_said():
    with pytest.raises(BenchError, match="expected kuberay, slurm, aws; did you mean 'kuberay'"):
        written("kubray", GRIDS["one"])
    huge = Shape(cpu=1000, gpu=0, mem_gb=8, gpu_mem_gb=0, minutes=1, cells=1, at_once=1)
    with pytest.raises(BenchError, match="no instance of AWS that is known here has 1000 processors"):
        written("aws", [huge])
