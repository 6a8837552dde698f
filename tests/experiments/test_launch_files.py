"""The launch files, as far as they can be tried without their clusters: scripts among stand-ins for Slurm, Ray and
our own command, manifests against schemas, and every `nas` line against the real command line.
"""

import re
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field

from nas.cli import app

FOLDER = Path(str(files("experiments"))) / "cluster"
SCRIPTS = ("slurm_node.sbatch", "slurm_ray.sbatch")

STAND_IN = """#!/usr/bin/env bash
# Each call is a line of its own, arguments between tabs.
{ printf '%s' "${0##*/}"; printf '\\t%s' "${@//$'\\n'/ }"; printf '\\n'; } >>"$CALLS"
"""
STAND_INS = {
    # Works until it is told to stop, unless it is to end at once, or refused so many times before because another host
    # has the run directory; says when it began and what it was told.
    "nas": """
        trap 'printf "nas got TERM\\n" >>"$CALLS"; sleep 0.2; exit 130' TERM
        printf 'nas at work\\n' >>"$CALLS"
        [ "$(grep -c '^nas at work' "$CALLS")" -gt "${NAS_REFUSALS:-0}" ] || exit 75
        [ -z "${NAS_ENDS:-}" ] || exit "$NAS_ENDS"
        while :; do sleep 0.05; done
    """,
    "scontrol": """
        case $2 in
            hostnames) printf '%s\\n' $NODES ;;
            job) echo "JobId=7 JobName=nas"; echo "   JobState=$JOB_STATE Reason=None" ;;
        esac
    """,
    "srun": """
        while [ "${1#-}" != "$1" ]; do shift; done
        [ "$1" = getent ] || exec "$@"
        echo "10.0.0.1        STREAM first"; echo "10.0.0.1        DGRAM"
    """,
    "python": "",
    "ray": """
        [ "$1" = start ] || exit 0
        [ -n "${RAY_AUTH_TOKEN:-}" ] && [ "$RAY_AUTH_MODE" = token ] || exit 1
        [ -z "${RAY_FAILS:-}" ] || exit 1
        exec sleep 1000
    """,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A machine on which Slurm, Ray and nas are stand-ins."""

    bin: Path
    calls: Path

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        slurm = {
            "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "nas", "SLURM_JOB_NODELIST": "node[1-3]", "SLURM_GPUS_ON_NODE": "4",
            "SLURM_CPUS_PER_TASK": "32", "NODES": "node1 node2 node3", "JOB_STATE": "RUNNING",
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", str(FOLDER / script), *arguments],
            cwd=self.bin.parent, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "CALLS": str(self.calls)} | slurm | environment,
        )  # fmt: skip

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(script, *arguments, **environment)
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors

    def lines(self) -> list[list[str]]:
        return [line.split("\t") for line in self.calls.read_text().splitlines()]

    def call(self, *begin: str) -> list[str]:
        """The one call that begins so."""
        (found,) = [line for line in self.lines() if line[: len(begin)] == list(begin)]
        return found

    def has(self, *begin: str) -> bool:
        return any(line[: len(begin)] == list(begin) for line in self.lines())

    def wait_for(self, *begin: str) -> None:
        end = time.monotonic() + 60
        while not self.has(*begin):
            assert time.monotonic() < end, self.lines()
            time.sleep(0.02)

    def left_over(self) -> list[str]:
        """Stand-ins that still run."""
        place = str(self.calls)
        return [p.name() for p in psutil.process_iter() if _environment(p).get("CALLS") == place]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, does in STAND_INS.items():
        (folder / name).write_text(STAND_IN + does)
        (folder / name).chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    return Cluster(bin=folder, calls=calls)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the real `nas search` understands; an unknown option or a wrong kind of value is an error."""
    assert arguments[:2] == ["nas", "search"]
    search = typer.main.get_command(app).commands["search"]  # type: ignore[attr-defined]
    return dict(search.make_context("search", list(arguments[2:])).params)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / script)], check=True)
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run([checker, str(FOLDER / script)], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_slurm_is_asked_for_notice_and_for_a_way_back(script: str) -> None:
    asked = re.findall(r"^#SBATCH (\S+)$", (FOLDER / script).read_text(), re.MULTILINE)
    assert {"--requeue", "--signal=B:TERM@120", "--open-mode=append"} <= set(asked)
    # sbatch reads them only above the first command.
    assert "#SBATCH" not in (FOLDER / script).read_text().partition("\nset -euo pipefail\n")[2]


def test_one_node_searches_with_local_workers(cluster: Cluster) -> None:
    code, _ = cluster.run("slurm_node.sbatch", "--trials", "7", RECIPE="images", OUT="/shared/a b", NAS_ENDS="0")
    assert code == 0
    given = parsed(cluster.call("nas", "search"))
    assert given["recipe"] == "images"
    assert str(given["out"]) == "/shared/a b"
    assert (given["executor"], given["workers"], given["trials"]) == ("local", 4, 7)
    assert not cluster.has("scontrol", "requeue")


def test_several_nodes_search_on_a_ray_cluster_of_theirs(cluster: Cluster) -> None:
    code, errors = cluster.run("slurm_ray.sbatch", "--trials", "7", GPUS_PER_TRIAL="0.5", NAS_ENDS="0")
    assert code == 0, errors
    head = cluster.call("ray", "start", "--head")
    assert {"--node-ip-address=10.0.0.1", "--port=20007", "--num-cpus=32", "--block"} <= set(head)
    others = cluster.call("srun", "--nodes=2", "--ntasks=2")
    assert {"--exclude=node1", "--cpus-per-task=32", "--kill-on-bad-exit=0", "--no-kill"} <= set(others)
    assert others[others.index("ray") :][:3] == ["ray", "start", "--address=10.0.0.1:20007"]
    assert cluster.call("python", "-c")[-2:] == ["10.0.0.1:20007", "3"]
    given = parsed(cluster.call("nas", "search"))
    assert (given["executor"], given["ray_address"], given["trials"]) == ("ray", "10.0.0.1:20007", 7)
    assert (given["gpus_per_trial"], given["cpus_per_trial"], given["workers"]) == (0.5, 4, None)
    assert given["out"] == cluster.bin.parent / "runs" / "nas"
    assert cluster.left_over() == []


@pytest.mark.parametrize(
    ("settings", "gpus", "cpus", "workers"),
    [
        ({}, 1.0, 8, None),
        ({"SLURM_GPUS_ON_NODE": "0"}, 0.0, 1, None),
        ({"SLURM_GPUS_ON_NODE": "64"}, 1.0, 1, None),
        ({"CPUS_PER_TRIAL": "3", "WORKERS": "5"}, 1.0, 3, 5),
    ],
)
def test_a_trial_gets_its_gpus_share_of_the_node(
    cluster: Cluster, settings: dict[str, str], gpus: float, cpus: int, workers: int | None
) -> None:
    assert cluster.run("slurm_ray.sbatch", NAS_ENDS="0", NODES="node1", **settings)[0] == 0
    given = parsed(cluster.call("nas", "search"))
    assert (given["gpus_per_trial"], given["cpus_per_trial"], given["workers"]) == (gpus, cpus, workers)
    assert not cluster.has("srun", "--nodes=0"), "one node needs no others"


def test_no_search_begins_where_ray_does_not_start(cluster: Cluster) -> None:
    (cluster.bin / "ray").write_text(STAND_IN + "exit 1\n")
    code, _ = cluster.run("slurm_ray.sbatch")
    assert code == 1
    assert not cluster.has("nas")
    assert cluster.left_over() == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("signals", [1, 3])
def test_a_signal_reaches_the_search_once_and_the_job_queues_again(cluster: Cluster, script: str, signals: int) -> None:
    process = cluster.start(script)
    cluster.wait_for("nas at work")
    time.sleep(0.3)  # the shell has come to its wait, which nothing shows
    for _ in range(signals):
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    words = [line[0] for line in cluster.lines()]
    assert words.count("nas got TERM") == 1
    assert cluster.lines()[-1] == ["scontrol", "requeue", "7"]
    assert cluster.left_over() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_job_that_somebody_cancelled_stays_away(cluster: Cluster, script: str) -> None:
    process = cluster.start(script, JOB_STATE="CANCELLED")
    cluster.wait_for("nas at work")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert not cluster.has("scontrol", "requeue")


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("ends", "again"), [("0", False), ("1", False), ("2", False), ("130", True)])
def test_only_an_interrupted_search_queues_again(cluster: Cluster, script: str, ends: str, again: bool) -> None:
    assert cluster.run(script, NAS_ENDS=ends)[0] == int(ends)
    assert cluster.has("scontrol", "requeue", "7") == again


def wait_less(cluster: Cluster, seconds: float) -> None:
    """Let the pause between two attempts be shorter, and tell when it begins."""
    pause = f"""printf 'pause\\n' >>"$CALLS"; set -- {seconds}"""
    (cluster.bin / "sleep").write_text(f'#!/bin/bash\n[ "$1" != 10 ] || {{ {pause}; }}\nexec /bin/sleep "$@"\n')
    (cluster.bin / "sleep").chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("refusals", "attempts", "ends"), [(3, 4, 0), (1000, 12, 75)])
def test_a_lease_that_another_host_left_is_waited_for(
    cluster: Cluster, script: str, refusals: int, attempts: int, ends: int
) -> None:
    """Of a node that was lost; a run that lives keeps its directory."""
    wait_less(cluster, 0.01)
    assert cluster.run(script, NAS_REFUSALS=str(refusals), NAS_ENDS="0")[0] == ends
    words = [line[0] for line in cluster.lines()]
    assert (words.count("nas at work"), words.count("pause")) == (attempts, attempts - 1)
    assert not cluster.has("scontrol", "requeue")
    assert cluster.left_over() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_signal_while_a_lease_is_waited_for_queues_again(cluster: Cluster, script: str) -> None:
    wait_less(cluster, 1)
    process = cluster.start(script, NAS_REFUSALS="1000")
    cluster.wait_for("pause")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    words = [line[0] for line in cluster.lines()]
    assert (words.count("nas at work"), words.count("nas got TERM")) == (1, 0)
    assert cluster.lines()[-1] == ["scontrol", "requeue", "7"]
    assert cluster.left_over() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_signal_after_a_lease_was_waited_for_reaches_the_search(cluster: Cluster, script: str) -> None:
    wait_less(cluster, 0.01)
    process = cluster.start(script, NAS_REFUSALS="1")
    cluster.wait_for("pause")
    while [line[0] for line in cluster.lines()].count("nas at work") < 2:
        time.sleep(0.02)
    time.sleep(0.3)  # the shell has come to its wait, which nothing shows
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert cluster.lines()[-1] == ["scontrol", "requeue", "7"]


def test_a_signal_before_the_search_begins_queues_again_too(cluster: Cluster) -> None:
    (cluster.bin / "ray").write_text(STAND_IN + 'if [ "$1" = status ]; then exit 1; fi; exec sleep 1000\n')
    process = cluster.start("slurm_ray.sbatch")
    cluster.wait_for("ray", "status")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert cluster.has("scontrol", "requeue", "7")
    assert not cluster.has("nas")
    assert cluster.left_over() == []


def test_the_ray_cluster_is_one_by_rays_own_schema() -> None:
    pytest.importorskip("ray")
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = yaml.safe_load((FOLDER / "ray_cluster.yaml").read_text())
    validate_config(prepare_config(cluster))
    kinds = cluster["available_node_types"]
    assert cluster["head_node_type"] in kinds
    assert kinds["head"]["resources"] == {"CPU": 0}, "trials would train beside the search"
    with pytest.raises(Exception, match="misspelt"):
        validate_config({**cluster, "misspelt": 1})


class Strict(BaseModel):
    """As Kubernetes reads: what it does not know is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class VolumeMount(Strict):
    name: str
    mountPath: str = Field(pattern="^/")


class Resources(Strict):
    requests: dict[str, str]
    limits: dict[str, str]


class Container(Strict):
    name: str
    image: str
    resources: Resources
    volumeMounts: list[VolumeMount]


class Claim(Strict):
    claimName: str


class Volume(Strict):
    name: str
    persistentVolumeClaim: Claim


class PodSpec(Strict):
    containers: list[Container]
    volumes: list[Volume]


class PodTemplate(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    """HeadGroupSpec of KubeRay's ray.io/v1; rayStartParams are texts."""

    rayStartParams: dict[str, str]
    template: PodTemplate


class WorkerGroup(Strict):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    rayStartParams: dict[str, str]
    template: PodTemplate


class RayCluster(Strict):
    rayVersion: str
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class RayJobSpec(Strict):
    """The fields of ray.io/v1 that the manifest uses."""

    entrypoint: str
    backoffLimit: int
    shutdownAfterJobFinishes: bool
    rayClusterSpec: RayCluster


class Metadata(Strict):
    name: str = Field(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=47)


class RayJob(Strict):
    apiVersion: str = Field(pattern=r"^ray\.io/v1$")
    kind: str = Field(pattern="^RayJob$")
    metadata: Metadata
    spec: RayJobSpec


def test_the_ray_job_is_one_that_kuberay_takes() -> None:
    claim, manifest = yaml.safe_load_all((FOLDER / "rayjob.yaml").read_text())
    assert (claim["kind"], claim["spec"]["accessModes"]) == ("PersistentVolumeClaim", ["ReadWriteMany"])
    spec = RayJob.model_validate(manifest).spec
    cluster = spec.rayClusterSpec
    given = parsed(shlex.split(spec.entrypoint))
    (workers,) = cluster.workerGroupSpecs
    assert workers.minReplicas <= workers.replicas <= workers.maxReplicas
    assert cluster.headGroupSpec.rayStartParams["num-cpus"] == "0", "trials would train beside the search"
    pods = [cluster.headGroupSpec.template.spec, workers.template.spec]
    for pod in pods:
        (container,), (volume,) = pod.containers, pod.volumes
        assert volume.persistentVolumeClaim.claimName == claim["metadata"]["name"]
        assert [mount.name for mount in container.volumeMounts] == [volume.name]
        assert Path(str(given["out"])).is_relative_to(container.volumeMounts[0].mountPath)
    limits = workers.template.spec.containers[0].resources.limits
    assert given["executor"] == "ray"
    assert int(limits["cpu"]) >= given["cpus_per_trial"]
    assert int(limits["nvidia.com/gpu"]) >= given["gpus_per_trial"]
    assert len({pod.containers[0].image for pod in pods}) == 1


def test_one_version_of_ray_is_named_everywhere() -> None:
    text = "".join((FOLDER / name).read_text() for name in ("ray_cluster.yaml", "rayjob.yaml", "Dockerfile"))
    versions = re.findall(r'rayproject/ray:([\d.]+)-|rayVersion: "([\d.]+)"|ARG RAY=([\d.]+)', text)
    assert len(versions) == 3
    assert len({version for found in versions for version in found if version}) == 1


def lines_that_search(text: str) -> list[str]:
    """`nas search …` where it is written out in a file, in a comment, in quotes, or over several lines."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in re.findall(r"nas search [^'`\n]+", joined) if " --" in line and "$" not in line]


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_every_search_that_is_written_out_is_one_that_nas_takes(path: Path) -> None:
    for line in lines_that_search(path.read_text()):
        if "--list" not in line:
            parsed(shlex.split(line))


def test_the_documentation_knows_the_files_and_its_searches_are_real() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    for path in FOLDER.iterdir():
        assert path.name in text
    searches = lines_that_search(text)
    assert searches
    for line in searches:
        parsed(shlex.split(line, comments=True))
