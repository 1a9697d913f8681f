import pytest

from kontinue_engine.errors import ProtocolError
from kontinue_engine.wire import frames
from kontinue_engine.wire.session import ActivationState, RunnerSession

A = 5
ACTIVATE = frames.Activate(A, "default", "e", "u", "f", b"{}", b"", 1, 0, 0, 0, 0)
TIMER = frames.StepRequested(A, "0", frames.StartTimer(5))
WAITING = frames.Waiting(A, [])
COMPLETED = frames.Completed(A, b"1")
FAILED = frames.Failed(A, "UserError", frames.ErrorInfo("ValueError"))
MISMATCHED = frames.Mismatched(A, "0", "x", "y")
RECORDS = frames.RecordsProduced(A, 1, [])
CANCEL = frames.CancelActivation(A, "stop")


def _session(*history: frames.Frame) -> RunnerSession:
    session = RunnerSession()
    for frame in history:
        if isinstance(frame, frames.Command):
            session.sent(frame)
        else:
            session.received(frame)  # type: ignore[arg-type]
    return session


@pytest.mark.parametrize(
    ("history", "event", "state"),
    [
        ([ACTIVATE], frames.Running(A), ActivationState.RUNNING),
        ([ACTIVATE], FAILED, None),
        ([ACTIVATE], MISMATCHED, None),
        ([ACTIVATE, frames.Recall(A)], frames.Recalled(A), None),
        ([ACTIVATE, frames.Recall(A)], frames.Running(A), ActivationState.RUNNING),
        ([ACTIVATE, CANCEL], frames.Interrupted(A), None),
        ([ACTIVATE, frames.Running(A)], TIMER, ActivationState.RUNNING),
        ([ACTIVATE, frames.Running(A)], RECORDS, ActivationState.RUNNING),
        ([ACTIVATE, frames.Running(A)], WAITING, ActivationState.WAITING),
        ([ACTIVATE, frames.Running(A)], COMPLETED, None),
        ([ACTIVATE, frames.Running(A), WAITING], frames.Running(A), ActivationState.RUNNING),
        ([ACTIVATE, frames.Running(A), WAITING, CANCEL], frames.Interrupted(A), None),
        ([ACTIVATE, frames.Running(A), CANCEL], COMPLETED, None),
    ],
)
def test_a_legal_event_moves_the_activation(
    history: list[frames.Frame], event: frames.RunnerEvent, state: ActivationState | None
) -> None:
    """Every legal event is accepted and gives the state of the table; None means that the activation has ended."""
    session = _session(*history)
    assert session.received(event)
    assert session.states.get(A) is state


@pytest.mark.parametrize(
    "history", [[ACTIVATE], [ACTIVATE, frames.Running(A)], [ACTIVATE, frames.Running(A), COMPLETED]]
)
def test_that_a_step_has_kept_a_thread_may_be_said_at_any_time(history: list[frames.Frame]) -> None:
    """It concerns the runner; the activation may have ended, and stays what it is."""
    session = _session(*history)
    before = dict(session.states)
    assert session.received(frames.ThreadLeft(A, "3"))
    assert session.states == before


@pytest.mark.parametrize(
    ("history", "event", "complaint"),
    [
        ([], frames.Running(A), "Running for activation 5, which it has not"),
        ([ACTIVATE], COMPLETED, "Completed for activation 5, which is Unstarted"),
        ([ACTIVATE], WAITING, "Waiting for activation 5, which is Unstarted"),
        ([ACTIVATE], TIMER, "StepRequested for activation 5, which is Unstarted"),
        ([ACTIVATE], frames.Recalled(A), "Recalled for activation 5, which it got no Recall for"),
        ([ACTIVATE, frames.Running(A)], frames.Interrupted(A), "which it got no CancelActivation for"),
        ([ACTIVATE, frames.Recall(A), frames.Running(A)], frames.Recalled(A), "which is Running"),
        ([ACTIVATE, frames.Running(A), WAITING], COMPLETED, "Completed for activation 5, which is Waiting"),
        ([ACTIVATE, frames.Running(A), COMPLETED], COMPLETED, "which it has not"),
        ([frames.Ready(1)], frames.Ready(1), "Ready twice"),
        ([frames.Ready(1)], frames.LoadFailed("m", ""), "LoadFailed after Ready"),
    ],
)
def test_an_illegal_event_is_refused(history: list[frames.Frame], event: frames.RunnerEvent, complaint: str) -> None:
    """A runner that says what it cannot say now is recognised as broken; the message says what it did."""
    with pytest.raises(ProtocolError, match=complaint):
        _session(*history).received(event)


def test_events_of_a_given_up_activation_are_dropped_until_it_ends() -> None:
    """The supervisor may give an activation up while its frames are under way; after the end it is nonsense again."""
    session = _session(ACTIVATE, frames.Running(A), CANCEL)
    session.give_up(A)
    assert not session.states
    assert [session.received(event) for event in (WAITING, frames.Running(A), COMPLETED)] == [False, False, False]
    with pytest.raises(ProtocolError):
        session.received(COMPLETED)


def test_log_lines_are_always_legal() -> None:
    """Output of any activation, known or not, is passed on."""
    assert RunnerSession().received(frames.LogLine(99, "stdout", "hi"))


def test_a_runner_that_loads_the_module_itself_may_try_again() -> None:
    """LoadFailed is legal before Ready, and Ready after it."""
    session = RunnerSession()
    assert session.received(frames.LoadFailed("m", "t"))
    assert session.received(frames.Ready(1))


def test_answers_to_steps_change_no_state_and_an_unknown_activation_cannot_be_given_up() -> None:
    """What the supervisor sends while an activation runs leaves its state; giving up nothing does nothing."""
    session = _session(ACTIVATE, frames.Running(A), frames.StepRecorded(A, 1))
    session.give_up(A + 1)
    assert session.states == {A: ActivationState.RUNNING}
