"""What is measured, what is needed, and how it is printed and stored."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One figure: its unit, what is needed now, and the goal."""

    unit: str
    needed: float
    goal: float
    higher_is_better: bool = True


TARGETS = {
    "trivial_c64_per_s": Target("1/s", 1500, 5000),
    "trivial_c1_per_s": Target("1/s", 400, 1000),
    "steps10_c64_per_s": Target("1/s", 300, 1000),
    "fanout100_c8_per_s": Target("1/s", 15, 45),
    "cpu_200x50ms_vs_pool": Target("ratio", 0.93, 0.95),
    "runner_death_to_resume_p50_ms": Target("ms", 200, 100, higher_is_better=False),
    "idle_pss_mib": Target("MiB", 160, 120, higher_is_better=False),
    "kube_trivial_c64_vs_raw": Target("ratio", 0.6, 0.7),
    "writes_trivial": Target("writes", 2, 2, higher_is_better=False),
}


@dataclass(frozen=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str
    goal: float
    conditions: str

    @property
    def verdict(self) -> str:
        """Compare with what is needed and with the goal."""
        target = TARGETS[self.name]
        sign = 1 if target.higher_is_better else -1
        if sign * self.value >= sign * target.goal:
            return "goal reached"
        return "ok" if sign * self.value >= sign * target.needed else "TOO LOW" if sign > 0 else "TOO HIGH"


def figure(name: str, value: float, conditions: str) -> Figure:
    """Return the figure with its unit and goal."""
    target = TARGETS[name]
    return Figure(name, round(value, 3), target.unit, target.goal, f"{conditions}; {machine()}")


def machine() -> str:
    """Return what the figures depend on."""
    cpus = len(os.sched_getaffinity(0))
    return f"{cpus} cores, Python {platform.python_version()}, {platform.system()} {platform.release()}, all co-located"


def print_table(figures: list[Figure]) -> None:
    """Print one line a figure."""
    print(f"\n{'name':<32}{'value':>12}  {'unit':<8}{'needed':>8}{'goal':>8}  verdict")
    for one in figures:
        needed = TARGETS[one.name].needed
        print(f"{one.name:<32}{one.value:>12,.2f}  {one.unit:<8}{needed:>8,g}{one.goal:>8,g}  {one.verdict}")
    print(f"\n{machine()}")


def store(figures: list[Figure], path: Path) -> None:
    """Write the figures as JSON, replacing those of the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {one["name"]: one for one in json.loads(path.read_text())} if path.exists() else {}
    known.update({one.name: asdict(one) for one in figures})
    path.write_text(json.dumps(list(known.values()), indent=2) + "\n")
