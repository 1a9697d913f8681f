"""Internal. How many sync runners a replica starts when nobody says: the CPUs that it may use.

``parse_cpu_max`` is pure; ``default_sync_runners`` reads the affinity and cgroup v2 limits of this process. Called by
``pool.options``.
"""

from __future__ import annotations

import math
import os
import pathlib
from typing import Final

_CGROUP_ROOT: Final = pathlib.Path("/sys/fs/cgroup")


def parse_cpu_max(text: str) -> float:
    """Return the CPUs that a cgroup's ``cpu.max`` allows: 1.5 for ``150000 100000``, infinity for ``max``."""
    quota, _, period = text.strip().partition(" ")
    return math.inf if quota == "max" else int(quota) / int(period or 100_000)


def default_sync_runners() -> int:
    """Return min(CPU affinity, cgroup limits), at least 1.

    A fraction of a CPU is left to the supervisor: a runner for it would be throttled, and the supervisor with it.
    """
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        usable = os.cpu_count() or 1
    return max(1, math.floor(min([float(usable), *_cgroup_limits()])))


def _cgroup_limits() -> list[float]:
    """Read the limits of this process's cgroup and of those above it, as far as they are visible."""
    try:
        lines = pathlib.Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
        own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
        folder = _CGROUP_ROOT / own
        paths = [path / "cpu.max" for path in (folder, *folder.parents) if path.is_relative_to(_CGROUP_ROOT)]
        return [parse_cpu_max(path.read_text(encoding="ascii")) for path in paths if path.is_file()]
    except (OSError, ValueError):
        return []
