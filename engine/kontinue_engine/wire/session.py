"""Internal. Which frame is legal when, per activation of one runner: every transition is in ``_TRANSITIONS``. Sans-io.

The supervisor keeps one ``RunnerSession`` per runner (``pool.runner_process``) and asks it before it believes a frame;
a runner that sends nonsense is killed. The session is also the pool's knowledge of what each activation does
(unstarted, running, waiting). Frames of an activation that the supervisor has given up are recognised and dropped.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from kontinue_engine.errors import ProtocolError
from kontinue_engine.wire import frames


class ActivationState(enum.Enum):
    """What a runner does with an activation, as far as the supervisor has heard."""

    UNSTARTED = "Unstarted"
    RUNNING = "Running"
    WAITING = "Waiting"
    ENDED = "Ended"


_U, _R, _W, _E = ActivationState

_TRANSITIONS: Final[Mapping[type[frames.Frame], Mapping[ActivationState, ActivationState]]] = {
    frames.Running: {_U: _R, _R: _R, _W: _R},
    frames.Recalled: {_U: _E},
    frames.StepRequested: {_R: _R, _W: _W},
    frames.PayloadRefused: {_R: _R, _W: _W},
    frames.RecordsProduced: {_R: _R, _W: _W},
    frames.Waiting: {_R: _W, _W: _W},
    frames.Completed: {_R: _E},
    # Arguments and memo are checked before user code runs, and a canceled activation may never have run.
    frames.Failed: {_U: _E, _R: _E},
    frames.Mismatched: {_U: _E, _R: _E},
    frames.Interrupted: {_U: _E, _R: _E, _W: _E},
}

_ONLY_AFTER: Final[Mapping[type[frames.Frame], type[frames.Frame]]] = {
    frames.Recalled: frames.Recall,
    frames.Interrupted: frames.CancelActivation,
}


class RunnerSession:
    """The supervisor's view of the conversation with one runner."""

    def __init__(self) -> None:
        self._ready = False
        self._states: dict[int, ActivationState] = {}
        self._asked: set[tuple[int, type[frames.Frame]]] = set()
        self._given_up: set[int] = set()

    @property
    def states(self) -> Mapping[int, ActivationState]:
        """Activations that the runner holds and the supervisor cares for. A live view."""
        return self._states

    def sent(self, command: frames.Command) -> None:
        """Note a command that is being sent."""
        match command:
            case frames.Activate():
                self._states[command.activation] = _U
            case frames.Recall() | frames.CancelActivation() if command.activation in self._states:
                self._asked.add((command.activation, type(command)))

    def give_up(self, activation: int) -> None:
        """Care no longer: ``received`` answers False for what the runner still says of this activation."""
        if self._states.pop(activation, None) is not None:
            self._given_up.add(activation)

    def received(self, event: frames.RunnerEvent) -> bool:
        """Check an event; True means that the supervisor should act on it.

        Raises:
            ProtocolError: the event is not legal now: kill the runner.
        """
        match event:
            case frames.LogLine() | frames.ThreadLeft():
                return True  # of the runner, whatever has become of the activation
            case frames.Ready():
                if self._ready:
                    raise ProtocolError("the runner said Ready twice")
                self._ready = True
                return True
            case frames.LoadFailed():
                if self._ready:
                    raise ProtocolError("the runner said LoadFailed after Ready")
                return True
        return self._moved(event.activation, type(event))

    def _moved(self, activation: int, event: type[frames.Frame]) -> bool:
        state = self._states.get(activation)
        transitions = _TRANSITIONS[event]
        if state is None:
            if activation not in self._given_up:
                raise ProtocolError(f"the runner sent {event.__name__} for activation {activation}, which it has not")
            if _E in transitions.values():
                self._given_up.discard(activation)
                self._forget_questions(activation)
            return False
        after = transitions.get(state)
        if after is None:
            raise ProtocolError(f"the runner sent {event.__name__} for activation {activation}, which is {state.value}")
        asked = _ONLY_AFTER.get(event)
        if asked is not None and (activation, asked) not in self._asked:
            raise ProtocolError(
                f"the runner sent {event.__name__} for activation {activation}, which it got no {asked.__name__} for"
            )
        if after is _E:
            del self._states[activation]
            self._forget_questions(activation)
        else:
            self._states[activation] = after
        return True

    def _forget_questions(self, activation: int) -> None:
        if self._asked:
            self._asked -= {(activation, frames.Recall), (activation, frames.CancelActivation)}
