"""What is measured, what is needed, and how it is printed and stored."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """What is needed now of a figure, and the goal."""

    needed: float | None
    goal: float
    higher_is_better: bool = True


TARGETS = {
    "trivial_c64_per_s": Target(1500, 5000),
    "trivial_c1_per_s": Target(400, 1000),
    "steps10_c64_per_s": Target(300, 1000),
    "fanout100_c8_per_s": Target(15, 45),
    "cpu_200x50ms_vs_pool": Target(0.93, 0.95),
    "runner_death_to_resume_p50_ms": Target(200, 100, higher_is_better=False),
    "idle_pss_mib": Target(160, 120, higher_is_better=False),
    "kube_trivial_c64_vs_raw": Target(0.6, 0.7),
    "kube_sharded_c64_vs_raw": Target(0.5, 0.6),
    "writes_trivial": Target(2, 2, higher_is_better=False),
    "writes_sharded": Target(3, 3, higher_is_better=False),
    "recovery_killed_replica_s": Target(8, 8, higher_is_better=False),
    "recovery_sigterm_s": Target(1, 1, higher_is_better=False),
    "recovery_same_hostname_s": Target(2, 2, higher_is_better=False),
    "local_step1000_vs_step10": Target(1.3, 1.1, higher_is_better=False),
    "kube_step1000_vs_step10": Target(1.3, 1.1, higher_is_better=False),
    "sleepers_supervisor_bytes": Target(None, 2048, higher_is_better=False),
    "sleepers_late_p99_ms": Target(None, 200, higher_is_better=False),
    "cli_start_ms": Target(None, 300, higher_is_better=False),
    "cli_verb_start_ms": Target(400, 300, higher_is_better=False),
    "local_waitgroup_done_c1_vs_raw": Target(None, 0.7),
    "local_waitgroup_done_c32_vs_raw": Target(None, 0.7),
    "kube_waitgroup_done_c1_vs_raw": Target(None, 0.7),
    "kube_waitgroup_done_c32_vs_raw": Target(None, 0.7),
    "local_waitgroup_wake_p50_ms": Target(None, 10, higher_is_better=False),
    "kube_waitgroup_wake_p50_ms": Target(None, 50, higher_is_better=False),
    "rss_bytes_per_object_100k": Target(None, 3072, higher_is_better=False),
    "rss_bytes_per_object_100k_after_start": Target(None, 3072, higher_is_better=False),
}
"""Of the figures that have one; the others are there to be compared."""
UNITS = {
    "_per_s": "1/s",
    "_ms": "ms",
    "_us": "us",
    "_vs_pool": "ratio",
    "_vs_raw": "ratio",
    "_vs_step10": "ratio",
    "_vs_python": "ratio",
    "_vs_originals": "ratio",
    "_bytes": "B",
    "_mib": "MiB",
    "_percent": "% of a core",
    "rss_bytes": "B",
    "writes_": "writes",
    "idle_requests": "requests",
    "events_lost": "events",
    "_s": "s",
}
"""By a part of the name; the first that fits."""


@dataclass(frozen=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str
    goal: float | None
    conditions: str

    @property
    def is_enough(self) -> bool:
        """Whether it is what is needed, if anything is."""
        return not self.verdict.startswith("TOO")

    @property
    def verdict(self) -> str:
        """Compare with what is needed and with the goal, if there are such."""
        target = TARGETS.get(self.name)
        if target is None:
            return ""
        sign = 1 if target.higher_is_better else -1
        if sign * self.value >= sign * target.goal:
            return "goal reached"
        if target.needed is None:
            return "short of the goal"
        return "ok" if sign * self.value >= sign * target.needed else "TOO LOW" if sign > 0 else "TOO HIGH"


def figure(name: str, value: float, conditions: str) -> Figure:
    """Return the figure with its unit and goal."""
    unit = next(unit for part, unit in UNITS.items() if part in name)
    goal = TARGETS[name].goal if name in TARGETS else None
    return Figure(name, round(value, 3), unit, goal, f"{conditions}; {machine()}")


def machine() -> str:
    """Return what the figures depend on."""
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}, all co-located"


def print_table(figures: list[Figure]) -> None:
    """Print one line a figure."""
    width = max(len(one.name) for one in figures) + 2
    print(f"\n{'name':<{width}}{'value':>12}  {'unit':<8}{'needed':>8}{'goal':>8}  verdict")
    for one in figures:
        target = TARGETS.get(one.name)
        needed = "" if target is None or target.needed is None else f"{target.needed:,g}"
        goal = f"{target.goal:,g}" if target else ""
        print(f"{one.name:<{width}}{one.value:>12,.2f}  {one.unit:<8}{needed:>8}{goal:>8}  {one.verdict}".rstrip())
    print(f"\n{machine()}")


def store(figures: list[Figure], path: Path) -> None:
    """Write the figures as JSON, replacing those of the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {one["name"]: one for one in json.loads(path.read_text())} if path.exists() else {}
    known.update({one.name: asdict(one) for one in figures})
    path.write_text(json.dumps(list(known.values()), indent=2) + "\n")
