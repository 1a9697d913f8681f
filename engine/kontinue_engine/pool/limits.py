"""Internal. What this process's container allows: CPUs and memory, and what a runner may have of them.

``parse_*`` and ``runner_memory_limit`` are pure; the others read the affinity and the cgroup of this process. Called by
``pool.supply`` when the processes of a pool are planned; ``oom_kills`` also while they run.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterator
from typing import Final

SUPERVISOR_BYTES: Final = 256 * 1024 * 1024
"""What the container's limit leaves to supervisor and zygote. Past the limit the kernel kills the whole container."""

MIN_RUNNER_BYTES: Final = 64 * 1024 * 1024
"""A runner below it could not even import much; a container that small is left to the kernel, which says so."""

_CGROUP_ROOT: Final = pathlib.Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = pathlib.Path("/proc/self/cgroup")
_NO_LIMIT_V1: Final = 1 << 60  # cgroup v1 writes the largest number of pages


def parse_cpu_max(text: str) -> float:
    """Return the CPUs that a cgroup's ``cpu.max`` allows: 1.5 for ``150000 100000``, infinity for ``max``."""
    quota, _, period = text.strip().partition(" ")
    return math.inf if quota == "max" else int(quota) / int(period or 100_000)


def parse_memory_max(text: str) -> int | None:
    """Return the bytes of ``memory.max`` (v2) or ``memory.limit_in_bytes`` (v1); None for no limit."""
    text = text.strip()
    limit = None if text == "max" else int(text)
    return None if limit is None or limit >= _NO_LIMIT_V1 else limit


def parse_oom_kills(text: str) -> int | None:
    """Return the processes that the kernel has killed, as a cgroup's ``memory.events`` says; None if it does not."""
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill":
            return int(count)
    return None


def runner_memory_limit(container_bytes: int | None, runners: int) -> int | None:
    """Return what a runner may use: (container limit - 256 MiB) / runners; None if that makes no sense, or no limit."""
    if container_bytes is None or runners == 0:
        return None
    limit = (container_bytes - SUPERVISOR_BYTES) // runners
    return limit if limit >= MIN_RUNNER_BYTES else None


def default_sync_runners() -> int:
    """Return min(CPU affinity, cgroup limits), at least 1.

    A fraction of a CPU is left to the supervisor: a runner for it would be throttled, and the supervisor with it.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        usable = os.cpu_count() or 1
    try:
        limits = [parse_cpu_max(text) for text in _read_all("", "cpu.max")]
    except (OSError, ValueError):
        limits = []
    return max(1, math.floor(min([float(usable), *limits])))


def container_memory_limit(root: pathlib.Path = _CGROUP_ROOT) -> int | None:
    """Return the bytes that this process's cgroup, or one above it, may use; None without a limit."""
    try:
        texts = [
            *_read_all("", "memory.max", root=root),
            *_read_all("memory", "memory.limit_in_bytes", root=root / "memory"),
        ]
        return min((limit for text in texts if (limit := parse_memory_max(text)) is not None), default=None)
    except (OSError, ValueError):
        return None


def oom_kills(root: pathlib.Path = _CGROUP_ROOT) -> int | None:
    """Return how many processes of this cgroup the kernel has killed for want of memory; None: it does not say."""
    try:
        return parse_oom_kills(next(_read_all("", "memory.events", root=root), ""))
    except (OSError, ValueError):
        return None


def _read_all(controller: str, file: str, *, root: pathlib.Path = _CGROUP_ROOT) -> Iterator[str]:
    """Read a file of this process's cgroup and of those above it, as far as they are visible; "" means cgroup v2."""
    for line in _read_text(_OWN_CGROUPS).splitlines():
        _, controllers, own = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        folder = root / own.lstrip("/")
        for path in (folder, *folder.parents):
            if path.is_relative_to(root) and (path / file).is_file():
                yield _read_text(path / file)


def _read_text(path: pathlib.Path) -> str:
    return path.read_text(encoding="ascii")
