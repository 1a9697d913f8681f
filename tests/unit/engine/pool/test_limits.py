import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kontinue_engine.pool import limits


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000\n", math.inf), ("150000 100000\n", 1.5), ("50000", 0.5), ("400000 200000", 2.0)]
)
def test_cpu_max_is_read_as_a_number_of_cpus(text: str, expected: float) -> None:
    """``cpu.max`` of cgroup v2: quota and period in microseconds, or max."""
    assert limits.parse_cpu_max(text) == expected


def test_there_is_always_one_sync_runner_and_never_more_than_cpus() -> None:
    """The default suits the machine that the test runs on."""
    assert 1 <= limits.default_sync_runners() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("text", "expected"), [("max\n", None), ("536870912\n", 536870912), ("9223372036854771712\n", None)]
)
def test_a_memory_limit_is_read_as_bytes(text: str, expected: int | None) -> None:
    """Cgroup v2 says max, v1 the largest number of pages, where there is no limit."""
    assert limits.parse_memory_max(text) == expected


@pytest.mark.parametrize(
    ("container_mib", "runners", "expected_mib"),
    [(None, 4, None), (1280, 4, 256), (1280, 1, 1024), (1280, 0, None), (512, 5, None), (200, 1, None)],
)
def test_runners_share_what_the_container_leaves_them(
    container_mib: int | None, runners: int, expected_mib: int | None
) -> None:
    """256 MiB are left to the supervisor; a share that nothing could run with is no limit."""
    container = None if container_mib is None else container_mib << 20
    limit = limits.runner_memory_limit(container, runners)
    assert limit == (None if expected_mib is None else expected_mib << 20)


def test_the_smallest_limit_of_the_cgroup_and_those_above_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the own cgroup is often shown as the root, and its path does not exist."""
    monkeypatch.setattr(limits, "_read_text", _files(tmp_path, "0::/kubepods/pod1"))
    assert limits.container_memory_limit(tmp_path) is None
    (tmp_path / "memory.max").write_text("2000\n")
    assert limits.container_memory_limit(tmp_path) == 2000
    (tmp_path / "kubepods").mkdir()
    (tmp_path / "kubepods" / "memory.max").write_text("1000\n")
    assert limits.container_memory_limit(tmp_path) == 1000
    (tmp_path / "kubepods" / "memory.max").write_text("max\n")
    assert limits.container_memory_limit(tmp_path) == 2000


def test_a_limit_of_cgroup_v1_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands below a folder of its controller."""
    monkeypatch.setattr(limits, "_read_text", _files(tmp_path, "4:cpu,memory:/docker/1\n0::/"))
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("3000\n")
    assert limits.container_memory_limit(tmp_path) == 3000


def test_a_machine_without_cgroups_has_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MacOS, for example."""

    def read(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(limits, "_read_text", read)
    assert limits.container_memory_limit(tmp_path) is None


def _files(root: Path, own: str) -> Callable[[Path], str]:
    return lambda path: path.read_text() if path.is_relative_to(root) else own


@pytest.mark.parametrize(
    ("text", "expected"),
    [("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n", 2), ("low 0\n", None), ("", None)],
)
def test_kills_for_want_of_memory_are_read_from_the_cgroups_events(text: str, expected: int | None) -> None:
    """``memory.events`` of cgroup v2."""
    assert limits.parse_oom_kills(text) == expected


def test_the_kernels_kills_are_read_where_cgroup_v2_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container the own cgroup is the visible root; elsewhere nothing is known."""
    own = tmp_path / "own"
    monkeypatch.setattr(limits, "_OWN_CGROUPS", own)
    assert limits.oom_kills(tmp_path) is None
    own.write_text("0::/\n")
    assert limits.oom_kills(tmp_path) is None
    (tmp_path / "memory.events").write_text("oom 9\noom_kill 5\n")
    assert limits.oom_kills(tmp_path) == 5
