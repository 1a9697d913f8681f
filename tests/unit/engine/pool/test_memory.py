"""What is done about a runner's memory, and whether the kernel was faster."""

import os

import pytest

from kontinue_engine.pool.memory import Measure, MemoryRules, OomKills, judge, make_rules, used_bytes


@pytest.mark.parametrize(
    ("used", "has_worked", "expected"),
    [
        (79, True, Measure.NOTHING),
        (80, True, Measure.NOTHING),
        (81, True, Measure.RECYCLE),
        (100, True, Measure.RECYCLE),
        (101, True, Measure.KILL),
        (81, False, Measure.NOTHING),
        (101, False, Measure.KILL),
    ],
)
def test_a_runner_is_recycled_above_one_figure_and_killed_above_another(
    used: int, has_worked: bool, expected: Measure
) -> None:
    """One that is too large before it has done anything is not replaced by another one like it, for ever."""
    assert judge(used, MemoryRules(limit_bytes=100, recycle_above_bytes=80), has_worked=has_worked) is expected


def test_without_rules_nothing_is_done() -> None:
    """Where no container has a limit and nobody asks for one."""
    rules = make_rules(None, None)
    assert rules.lowest_bytes is None
    assert judge(1 << 60, rules, has_worked=True) is Measure.NOTHING


@pytest.mark.parametrize(
    ("limit", "above", "expected"), [(100, None, (100, 80)), (100, 30, (100, 30)), (None, 30, (None, 30))]
)
def test_what_has_a_limit_is_recycled_before_it_reaches_it(
    limit: int | None, above: int | None, expected: tuple[int | None, int | None]
) -> None:
    """A leak then ends with the work done; whoever says another figure gets that."""
    rules = make_rules(limit, above)
    assert (rules.limit_bytes, rules.recycle_above_bytes) == expected
    assert rules.lowest_bytes == min(one for one in expected if one is not None)


@pytest.mark.parametrize(
    ("looks", "found", "expected"),
    [
        ([], 4, True),  # since the start
        ([], 3, False),
        ([3], 4, True),
        ([4], 4, True),  # the look came before the death was noticed
        ([4, 4], 4, False),  # long ago, and somebody else's
        ([4, 4], 5, True),
    ],
)
def test_a_kill_by_the_kernel_is_recognised_while_it_is_fresh(looks: list[int], found: int, expected: bool) -> None:
    """The kernel counts its kills and does not say whose they were."""
    kills = OomKills(3)
    for count in looks:
        kills.look(count)
    assert kills.has_struck(found) is expected


def test_where_the_kernel_counts_nothing_it_is_not_blamed() -> None:
    """On macOS, and with cgroup v1."""
    kills = OomKills(None)
    assert not kills.has_struck(None)
    assert not kills.has_struck(7)


def test_memory_of_a_process_is_measured_and_of_a_dead_one_there_is_none() -> None:
    """A small one is not asked for its part of shared pages, which costs the kernel time."""
    assert used_bytes(os.getpid(), 1 << 40) > 1 << 20
    assert 0 < used_bytes(os.getpid(), 0) <= used_bytes(os.getpid(), 1 << 40) + (64 << 20)
    assert used_bytes(0, 0) == 0
