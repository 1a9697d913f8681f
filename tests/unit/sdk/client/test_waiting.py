"""What a wait found means what its caller asked for."""

import msgspec
import pytest

from kontinue.api.meta import ObjectMeta
from kontinue.api.v1alpha1 import TERMINAL_PHASES, Execution, ExecutionSpec, ExecutionStatus, Phase
from kontinue.client import waiting
from kontinue.client.waiting import Target, Waits, judge
from kontinue.errors import ExecutionBlocked, InvalidState
from scripted_transport import ScriptedTransport


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


class LateWatch:
    """Shows one after the other, whatever has happened since."""

    def __init__(self, *shown):
        self.shown, self.versions = list(shown), []

    async def wait(self, name, *, uid, version):
        self.versions.append(version)
        return self.shown.pop(0)


@pytest.mark.parametrize("now", [Phase.EXECUTING, Phase.SKIPPED])
async def test_that_it_was_blocked_some_time_ago_is_no_answer(monkeypatch, now):
    """The watch may be late: somebody has skipped it since, or its code matches again."""
    watch = LateWatch(execution(Phase.BLOCKED), execution(Phase.COMPLETED))
    monkeypatch.setattr(waiting, "EndedWatch", lambda *_: watch)
    transport = ScriptedTransport()
    transport.answer = lambda _: msgspec.json.encode(
        {"metadata": {"name": "x", "resourceVersion": "9"}, "spec": {"function": "f"}, "status": {"phase": now}}
    )
    found = await Waits(transport).wait(Target("ns", "x"), None)
    assert (found.phase, watch.versions) == (
        (Phase.SKIPPED, [""]) if now is Phase.SKIPPED else (Phase.COMPLETED, ["", "9"])
    )
