"""The Slurm script as a shell runs it, with stand-ins for Slurm, Ray and bench."""

import os
import signal
import subprocess
import sys

import pytest
from polling import BOUND_S, wait_for

from bench.cluster.shapes import Shape
from bench.cluster.templates import Wanted, render

STAND_INS = {
    # More names than a pipe holds: whoever reads the first alone ends what writes them.
    "scontrol": 'if [ "$1" = show ]; then seq -f node%.0f 20000; exit; fi; echo "$@" >> "$SAID/scontrol"',
    "srun": 'shift; exec "$@"',
    # What `ray symmetric-run` does on the head: the command after the separator, as a child.
    "ray": 'echo "$@" >> "$SAID/ray"; echo "${#RAY_AUTH_TOKEN} $RAY_AUTH_MODE" >> "$SAID/token"\n'
    'while [ "$1" != -- ]; do shift; done; shift\n"$@"; exit $?',
    "bench": """trap 'echo asked >> "$SAID/bench"; exit 130' TERM
echo "$@" >> "$SAID/bench"
while [ ! -e "$SAID/go" ]; do sleep 0.05; done""",
}


@pytest.fixture
def script(tmp_path):
    """Starts the script as Slurm would; what was said is in a folder."""
    tools, said = tmp_path / "bin", tmp_path / "said"
    tools.mkdir()
    said.mkdir()
    for name, text in STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    shape = Shape(cpu=4, gpu=2, mem_gb=32, gpu_mem_gb=0, minutes=60, cells=8, at_once=1)
    wanted = Wanted(
        profile="paper", shapes=[shape], arguments=["-p", "paper", "-k", "a b"], store="", image="", nodes=2,
        about="", file="job.sh",
    )  # fmt: skip
    path = tmp_path / "job.sh"
    path.write_text(render("slurm", wanted))
    own = {
        "SAID": str(said),
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "n",
        "SLURM_JOB_NUM_NODES": "2",
    }
    process = subprocess.Popen(
        ["bash", str(path)], cwd=tmp_path, env={**os.environ, **own, "PATH": f"{tools}:{os.environ['PATH']}"}
    )
    yield process, said
    (said / "go").touch()
    process.wait(BOUND_S)


def lines(said, name):
    return (said / name).read_text().splitlines() if (said / name).exists() else []


def test_a_job_runs_the_sweep_on_a_cluster_of_its_own(script):
    process, said = script
    (said / "go").touch()
    assert process.wait(BOUND_S) == 0
    port = 10000 + 1234567 % 500 * 100
    assert lines(said, "bench") == [f"run -p paper -k a b --address node1:{port}"]
    (started,) = lines(said, "ray")
    assert started.startswith(
        f"symmetric-run --address node1:{port} --min-nodes 2 --num-cpus=4 --num-gpus=2 "
    )
    assert f"--node-manager-port={port + 1} " in started
    assert lines(said, "token") == ["64 token"]
    assert lines(said, "scontrol") == [], "it has ended: it is not to run again"


def test_before_its_time_is_over_the_driver_is_asked_to_end_and_the_job_waits_again(script):
    process, said = script
    wait_for(lambda: lines(said, "bench"), "the sweep runs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(BOUND_S) == 130
    assert lines(said, "bench")[1:] == ["asked"], "the driver alone, and once"
    assert lines(said, "scontrol") == ["requeue 1234567"]
