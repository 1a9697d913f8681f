"""How long a wait may take is one rule for all kinds."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from kontinue import errors
from kontinue.api.konductor import barriers, gates, wait_groups
from kontinue.api.meta import ApiObject, ObjectMeta
from kontinue.client import Client
from kontinue.sync import Barrier, Gate, WaitGroup
from kontinue.sync.objects.waiting import wait_limit
from scripted_transport import ScriptedTransport

SECOND = timedelta(seconds=1)
META = ObjectMeta(name="x", namespace="default")
WAITED_FOR: list[tuple[type[WaitGroup | Barrier | Gate], ApiObject]] = [
    (
        WaitGroup,
        wait_groups.WaitGroup(
            metadata=META, spec=wait_groups.WaitGroupSpec(), status=wait_groups.WaitGroupStatus(counter=1)
        ),
    ),
    (
        Barrier,
        barriers.Barrier(
            metadata=META,
            spec=barriers.BarrierSpec(expected=2),
            status=barriers.BarrierStatus(phase=barriers.BarrierPhase.WAITING, arrived=1),
        ),
    ),
    (
        Gate,
        gates.Gate(
            metadata=META,
            spec=gates.GateSpec(conditions=[gates.parse_condition("Mutex/m=Unlocked")]),
            status=gates.GateStatus(
                phase=gates.GatePhase.WAITING,
                condition_statuses=[gates.GateConditionStatus(type="Mutex", name="m", met=False, message="is locked")],
            ),
        ),
    ),
]


def test_what_its_caller_says_goes_before_what_the_client_has():
    """None leaves it to the client, and with neither a wait takes for ever."""
    assert wait_limit(SECOND, 2 * SECOND) == SECOND
    assert wait_limit(timedelta(), SECOND) == timedelta()
    assert wait_limit(None, SECOND) == SECOND
    assert wait_limit(None, None) is None


def test_what_is_left_of_a_time_that_is_over_is_nothing():
    """Whoever subtracts from a deadline may come to less than 0."""
    assert wait_limit(-SECOND, None) == timedelta()
    assert wait_limit(None, -SECOND) == timedelta()


@pytest.mark.parametrize(("kind", "stored"), WAITED_FOR, ids=[kind.__name__ for kind, _ in WAITED_FOR])
async def test_a_negative_timeout_looks_once(kind: type[WaitGroup | Barrier | Gate], stored: ApiObject):
    """And no message says that minus one second has passed."""
    transport = ScriptedTransport()
    transport.answer = lambda _: msgspec.json.encode(stored)
    subject = kind("x", Client.from_kube(transport, "default"))
    with pytest.raises(errors.WaitTimeout, match="after 0s"):
        await subject.wait(timeout=-SECOND)
    assert len(transport.sent) == 1
    assert transport.watched == []
