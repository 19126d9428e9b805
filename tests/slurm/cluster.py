"""A Slurm of one node on this machine, for as long as a block runs: munged, slurmctld and slurmd in a folder."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

PACKAGES = ("slurm-wlm", "munge")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until the credentials of its first life have expired: 2 minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000,bf_interval=1
ReturnToService=2
KillWait=5
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=10 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why there can be no cluster here, or ""; installs Debian's packages where that is possible."""
    if os.geteuid() != 0:
        return "munged, slurmctld and slurmd are started as root here, and this is another user."
    if all(map(_find, PROGRAMS)):
        return ""
    if shutil.which("apt-get") is None:
        return f"Slurm is not installed, and there is no apt-get to install {' '.join(PACKAGES)} with."
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for attempt in (command, ["apt-get", "update", "-qq"], command):
        result = subprocess.run(attempt, env=environment, capture_output=True, text=True, check=False)
        if all(map(_find, PROGRAMS)):
            return ""
    return (
        f"{' '.join(PACKAGES)} cannot be installed: {(result.stderr.strip() or 'unknown').splitlines()[-1]}"
    )


@contextlib.contextmanager
def cluster() -> Iterator[pathlib.Path]:
    """Starts the daemons and sets SLURM_CONF; yields their folder, and ends them, by their ids, with the block."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    ports = dict(controller_port=_free_port(), node_port=_free_port())
    configuration.write_text(CONFIGURATION.format(folder=folder, host=_host(), **ports))
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    os.environ["SLURM_CONF"] = str(configuration)
    munge = [f"--{name}={folder}/munge.{end}" for name, end in _MUNGE_FILES.items()]
    daemons = []
    try:
        daemons.append(_start(folder, "munged", "--foreground", "--force", *munge))
        _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        daemons.append(_start(folder, "slurmctld", "-D", "-c"))
        daemons.append(_start(folder, "slurmd", "-D", "-N", _host()))
        _wait(lambda: "idle" in _output("sinfo", "--noheader", "--format=%T"), "slurmd", folder)
        yield folder
    finally:
        _output("scancel", "--user=root")
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(15)
            daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


_MUNGE_FILES = {
    "key-file": "key",
    "socket": "socket",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}


def _start(folder: pathlib.Path, program: str, *arguments: str) -> subprocess.Popen:
    with open(folder / f"{program}.out", "wb") as out:
        return subprocess.Popen([_find(program), *arguments], stdout=out, stderr=subprocess.STDOUT)


def _wait(condition, what: str, folder: pathlib.Path, seconds: float = 60.0) -> None:
    deadline = time.time() + seconds
    while not condition():
        if time.time() > deadline:
            logs = "\n".join(
                f"== {p.name}\n{p.read_text()[-1500:]}" for p in sorted(folder.glob("*.[lo][ou][gt]"))
            )
            raise RuntimeError(f"{what} did not come up in {seconds:.0f} s.\n{logs}")
        time.sleep(0.2)


def _output(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return result.stdout + result.stderr


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
