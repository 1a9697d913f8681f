"""What a wait found means what its caller asked for."""

import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import TERMINAL_PHASES, Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue.client.waiting import judge
from kontinue.errors import ExecutionBlocked, InvalidState


def execution(phase):
    return Execution(
        metadata=ObjectMeta(name="x", namespace="ns"),
        spec=ExecutionSpec(function="f"),
        status=ExecutionStatus(phase=phase),
    )


@pytest.mark.parametrize("phase", sorted(TERMINAL_PHASES))
def test_any_end_satisfies_a_plain_wait(phase):
    """Failed and canceled ones as well: ``result`` tells them apart."""
    found = execution(phase)
    assert judge(found, None) is found


@pytest.mark.parametrize("wanted", [None, {Phase.COMPLETED}])
def test_blocked_is_an_error_unless_waited_for(wanted):
    """Nothing goes on by itself."""
    with pytest.raises(ExecutionBlocked):
        judge(execution(Phase.BLOCKED), wanted)
    assert judge(execution(Phase.BLOCKED), {Phase.BLOCKED}).phase is Phase.BLOCKED


def test_another_end_than_the_wanted_one_is_an_error():
    """It will not become what was waited for."""
    with pytest.raises(InvalidState, match="ns/x is Failed and will not become Completed"):
        judge(execution(Phase.FAILED), {Phase.COMPLETED})
