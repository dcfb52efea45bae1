"""A Slurm of two nodes on this machine's loopback: munged, slurmctld and two slurmd, without accounting.

Needs root and Debian's `slurm-wlm` and `munge`. Everything it writes lies in one folder. By hand:

    python -m tests.integration.cluster.loopback /tmp/slurm     # until Ctrl-C; then in another shell
    export SLURM_CONF=/tmp/slurm/slurm.conf; sinfo
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
KILL_WAIT = 30  # seconds between SIGTERM and SIGKILL: Slurm's own default

CONF = """
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={kill_wait}
MinJobAge=300
SlurmdTimeout={node_timeout}
ReturnToService=2
MpiDefault=none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
RebootProgram=/bin/true
NodeName=n1 NodeAddr=127.0.0.1 NodeHostname=localhost Port={n1} CPUs={cpus} RealMemory=2000 State=UNKNOWN
NodeName=n2 NodeAddr=127.0.0.1 NodeHostname=localhost Port={n2} CPUs={cpus} RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=n1,n2 Default=NO MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def lacking() -> str | None:
    """Why no Slurm can be started here; None where one can."""
    path = os.environ["PATH"] + ":/usr/sbin"
    gone = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if gone:
        return f"no Slurm here ({', '.join(gone)} not found): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "a Slurm on the loopback needs root"


def free_ports(number: int) -> list[int]:
    """Ports of the loopback that nothing listens on."""
    open_sockets = [socket.socket() for _ in range(number)]
    for one in open_sockets:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in open_sockets]
    for one in open_sockets:
        one.close()
    return found


class Loopback:
    """A running cluster; `environment` is what its clients need."""

    def __init__(self, root: Path, *, kill_wait: int, node_timeout: int, cpus: int) -> None:
        self.root, self.daemons = root, dict[str, subprocess.Popen[bytes]]()
        root.mkdir(parents=True, exist_ok=True)
        (root / "state").mkdir(exist_ok=True)
        self.conf = root / "slurm.conf"
        settings = {"kill_wait": kill_wait, "node_timeout": node_timeout, "cpus": cpus}
        port, n1, n2 = free_ports(3)
        self.conf.write_text(CONF.format(root=root, port=port, n1=n1, n2=n2, **settings))
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.environment["PATH"] += ":/usr/sbin"

    def start(self, name: str, *command: str) -> None:
        with (self.root / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command,
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def start_all(self) -> None:
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [f"--{what}={self.root}/munge.{end}" for what, end in MUNGE.items()]
        self.start("munged", "munged", "--foreground", "--force", "--num-threads=4", *files)
        self.wait_for(lambda: (self.root / "munge.socket").exists(), "munged")
        self.start("slurmctld", "slurmctld", "-D", "-c", "-f", str(self.conf))
        for node in ("n1", "n2"):
            self.start_node(node)
        self.wait_for(lambda: self.states() == ["idle", "idle"], "two idle nodes")

    def start_node(self, node: str) -> None:
        (self.root / f"spool-{node}").mkdir(exist_ok=True)
        self.start(node, "slurmd", "-D", "-N", node, "-f", str(self.conf))

    def call(self, *command: str) -> str:
        """Standard output of one of Slurm's commands."""
        ended = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return ended.stdout.strip()

    def states(self) -> list[str]:
        return self.call("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split()

    def queue(self) -> dict[str, str]:
        """State by job id of everything that is not over."""
        rows = self.call("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(row.split() for row in rows)

    def wait_for(self, condition, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:g} s; see {self.root}")
            time.sleep(0.2)

    def stop_node(self, node: str) -> None:
        """End a node as a power cut does: its daemon and everything that it started."""
        daemon = self.daemons.pop(node)
        for pid in reversed(_descendants(daemon.pid)):
            _kill(pid)
        daemon.wait()

    def stop(self) -> None:
        self.call("scancel", "--user=root")
        for daemon in reversed(list(self.daemons.values())):
            for pid in _descendants(daemon.pid):
                _kill(pid)
            daemon.wait()
        self.daemons.clear()


MUNGE = {
    "key-file": "key",
    "socket": "socket",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent dies: a killed test leaves no cluster behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """A process and all that it started, by /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += parents.get(found[-1], [])
    return found


@contextmanager
def loopback(
    root: Path, *, kill_wait: int = KILL_WAIT, node_timeout: int = 20, cpus: int = 1
) -> Iterator[Loopback]:
    """Start the cluster, and end it and every process of it afterwards."""
    cluster = Loopback(root, kill_wait=kill_wait, node_timeout=node_timeout, cpus=cpus)
    try:
        cluster.start_all()
        yield cluster
    finally:
        cluster.stop()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with loopback(Path(sys.argv[1])) as running:
        print(f"export SLURM_CONF={running.conf}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
