import math
import os

import pytest

from kontinue_engine.pool import cpus


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000\n", math.inf), ("150000 100000\n", 1.5), ("50000", 0.5), ("400000 200000", 2.0)]
)
def test_cpu_max_is_read_as_a_number_of_cpus(text: str, expected: float) -> None:
    """``cpu.max`` of cgroup v2: quota and period in microseconds, or max."""
    assert cpus.parse_cpu_max(text) == expected


def test_there_is_always_one_sync_runner_and_never_more_than_cpus() -> None:
    """The default suits the machine that the test runs on."""
    assert 1 <= cpus.default_sync_runners() <= (os.cpu_count() or 1)
