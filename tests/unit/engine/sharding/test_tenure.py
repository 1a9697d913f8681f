"""What the holder of a Lease may still do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.sharding.leases import MARGIN_S, LeaseTimes
from kontinue_engine.sharding.tenure import Standing, Tenure

TIMES = LeaseTimes(duration_s=40, renew_s=10)


@pytest.mark.parametrize(
    ("events", "now_s", "remaining_s", "standing"),
    [
        pytest.param([], 0, -1, Standing.WAITING, id="nothing held yet"),
        pytest.param([("confirmed", 100)], 100, 35, Standing.WRITING, id="just taken"),
        pytest.param([("confirmed", 100)], 134, 1, Standing.WRITING, id="almost over"),
        pytest.param([("confirmed", 100)], 135, 0, Standing.FENCED, id="5 s before others may take it"),
        pytest.param([("confirmed", 100)], 500, -365, Standing.FENCED, id="frozen for long"),
        pytest.param([("confirmed", 100), ("confirmed", 136)], 137, 34, Standing.WRITING, id="renewed after the fence"),
        pytest.param([("confirmed", 110), ("confirmed", 100)], 110, 35, Standing.WRITING, id="answers out of order"),
        pytest.param([("confirmed", 100), ("refused",)], 101, -1, Standing.LOST, id="somebody else has it"),
        pytest.param([("refused",), ("confirmed", 100)], 101, -1, Standing.LOST, id="lost for good"),
        pytest.param([("confirmed", 100), ("ended",)], 101, -1, Standing.WAITING, id="given back"),
        pytest.param([("confirmed", 1), ("ended",), ("confirmed", 100)], 100, 35, Standing.WRITING, id="taken again"),
    ],
)
def test_standing(events, now_s, remaining_s, standing):
    """Validity counts from when a renewal was sent, ends a margin early, and comes back only if nobody took over."""
    tenure = Tenure(TIMES)
    for name, *arguments in events:
        getattr(tenure, name)(*arguments)
    assert (tenure.remaining_s(now_s), tenure.standing(now_s)) == (remaining_s, standing)


@given(
    sent_s=st.lists(st.floats(0, 1000), min_size=1),
    delays_s=st.lists(st.floats(0, 100), min_size=1),
    now_s=st.floats(0, 2000),
)
def test_a_holder_has_stopped_writing_before_any_observer_may_take_over(sent_s, delays_s, now_s):
    """An observer saw the last renewal after it was sent, so its count of the duration ends later than ours."""
    tenure = Tenure(TIMES)
    for sent in sent_s:
        tenure.confirmed(sent)
    seen_s = max(sent_s) + min(delays_s)
    if now_s - seen_s > TIMES.duration_s - MARGIN_S:
        assert tenure.standing(now_s) is Standing.FENCED
