"""Internal. Who this process is, in a form that another process on the same machine can check.

Read by ``kontinue_engine.kube.lease``: a Lease whose holder is a dead process of this machine is free at once. A pid
means something only within one boot and one pid namespace (each container has its own pid 1), so both are part of the
``boot_id``; a pid is reused, so the start time belongs to it.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Final

import psutil

from kontinue_engine.sharding.leases import ReplicaIdentity

POD_UID_VARIABLE: Final = "KONTINUE_POD_UID"
"""Environment variable that a manifest fills with ``metadata.uid`` of the pod."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE: Final = Path("/proc/self/ns/pid")


def local_identity(shard: str, *, build: str = "") -> ReplicaIdentity:
    """Return the identity of this process, with a new random incarnation; its pod's uid comes from the environment."""
    pid = os.getpid()
    return ReplicaIdentity(
        shard=shard,
        incarnation=uuid.uuid4().hex[:12],
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid=pid,
        process_started=process_start(pid) or "",
        pod_uid=os.environ.get(POD_UID_VARIABLE, ""),
        build=build,
    )


def process_start(pid: int) -> str | None:
    """Return when the process started, as text to be compared; None if there is no such process, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None if Path("/proc/self/stat").exists() else _process_start_elsewhere(pid)
    # The command's name, in parentheses, may hold anything: the fields after it are safe. See proc_pid_stat(5).
    fields = stat.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZXx" else start_ticks


def _process_start_elsewhere(pid: int) -> str | None:
    """Do it without /proc, for example on macOS."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def _boot_id() -> str:
    """Return an id of this boot and pid namespace; random, so equal to no other, where the system tells none."""
    try:
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()}/{_PID_NAMESPACE.readlink()}"
    except OSError:
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}"
