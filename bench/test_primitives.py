"""What the benchmarks of primitives make of what their clients tell them."""

from __future__ import annotations

from bench import primitives, waiters
from bench.__main__ import PARTS
from bench.figures import TARGETS, figure
from bench.primitives import Counted, described


def test_each_figure_is_measured_by_one_part_and_has_a_unit() -> None:
    """A name chooses one measurement, and no goal is that of a figure which nobody measures."""
    names = [name for part in PARTS for name in part.names]
    assert sorted(set(names)) == sorted(names)
    assert set(TARGETS) <= set(names)
    ours = [name for server in ("local", "kube") for name in (*primitives.names(server), *waiters.names(server))]
    assert {figure(name, 1.0, "").unit for name in ours} == {"1/s", "ratio", "ms", "s", "B", "us"}


def test_what_several_rounds_were_like_is_told_in_one_line() -> None:
    """Percentiles are those of all calls; the client that was served worst is told of, too."""
    rounds = [
        Counted(per_s=2, first_per_s=1, latencies_ms=[1.0] * 98, least=3, requests_each=2.0),
        Counted(per_s=2, first_per_s=1, latencies_ms=[5.0, 700.0], least=4, requests_each=3.0),
    ]
    assert described(rounds) == (
        "no client less than 3; of all calls, also those that ended afterwards: p50 1.0 ms, p99 5 ms, "
        "at most 700 ms, 2.50 requests each"
    )
