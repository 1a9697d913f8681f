"""When ``kontinue dev`` starts, restarts and stops its processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinue_engine.cli.dev.supervision import (
    MAX_BACKOFF_S,
    SERVER,
    SERVER_STOP_GRACE_S,
    STABLE_AFTER_S,
    WORKER_STOP_GRACE_S,
    Action,
    Finish,
    Kill,
    Restarting,
    Start,
    State,
    Supervision,
    Terminate,
    WakeAt,
)
from kontinue_engine.worker.main import EXIT_LEASE_LOST

WORKER, OTHER = "worker-0", "worker-1"


def running() -> Supervision:
    supervision = Supervision([WORKER])
    supervision.begin()
    supervision.ready(SERVER, 1.0)
    supervision.ready(WORKER, 2.0)
    return supervision


def test_the_worker_starts_once_the_server_answers() -> None:
    """It would only fail before."""
    supervision = Supervision([WORKER])
    assert supervision.begin() == [Start(SERVER)]
    assert supervision.ready(SERVER, 1.0) == [Start(WORKER)]
    assert supervision.ready(WORKER, 2.0) == []


def test_a_worker_that_never_was_ready_ends_the_session() -> None:
    """A module that does not import is a mistake to correct, not to repeat: the server stops, the role is named."""
    supervision = Supervision([WORKER])
    supervision.begin()
    supervision.ready(SERVER, 1.0)
    assert supervision.exited(WORKER, 1, 2.0) == [Terminate(SERVER), WakeAt(2.0 + SERVER_STOP_GRACE_S)]
    assert supervision.exited(SERVER, 0, 3.0) == [Finish(WORKER)]


def test_a_server_that_never_was_ready_ends_the_session() -> None:
    """Nothing else runs yet."""
    supervision = Supervision([WORKER])
    supervision.begin()
    assert supervision.exited(SERVER, 1, 1.0) == [Finish(SERVER)]


@pytest.mark.parametrize("code", [-9, EXIT_LEASE_LOST])
def test_a_worker_that_was_killed_or_lost_its_lease_starts_again_at_once(code: int) -> None:
    """The first end of a process that worked costs no back-off."""
    supervision = running()
    assert supervision.exited(WORKER, code, 3.0) == [Restarting(WORKER, code, 0.0, True), Start(WORKER)]


def test_a_worker_that_does_not_come_up_again_is_tried_with_growing_pauses() -> None:
    """A module broken by an edit is tried until it is repaired, without burning a core."""
    supervision = running()
    supervision.exited(WORKER, -9, 3.0)
    delays = []
    now_s = 3.0
    for _ in range(8):
        told, wake = supervision.exited(WORKER, 1, now_s)
        assert isinstance(told, Restarting)
        assert isinstance(wake, WakeAt)
        assert not told.was_ready
        assert supervision.tick(wake.at_s - 0.001) == []
        assert supervision.tick(wake.at_s) == [Start(WORKER)]
        assert supervision.tick(wake.at_s) == []
        delays.append(told.delay_s)
        now_s = wake.at_s
    assert delays == sorted(delays)
    assert delays[-1] == MAX_BACKOFF_S


def test_a_stable_process_is_forgiven() -> None:
    """Failures of long ago do not slow down a restart."""
    supervision = running()
    supervision.exited(WORKER, -9, 3.0)
    supervision.ready(WORKER, 4.0)
    assert len(supervision.exited(WORKER, -9, 5.0)) == 2
    supervision.tick(100.0)
    supervision.ready(WORKER, 100.0)
    assert supervision.exited(WORKER, -9, 100.0 + STABLE_AFTER_S)[1] == Start(WORKER)


def test_a_restarted_server_leaves_the_worker_alone() -> None:
    """The worker reconnects by itself."""
    supervision = running()
    assert supervision.exited(SERVER, -9, 3.0) == [Restarting(SERVER, -9, 0.0, True), Start(SERVER)]
    assert supervision.ready(SERVER, 4.0) == []
    assert supervision.state(WORKER) is State.READY


def test_stop_ends_the_worker_before_the_server() -> None:
    """The worker flushes to the server."""
    supervision = running()
    assert supervision.stop(10.0) == [Terminate(WORKER), WakeAt(20.0)]
    assert supervision.exited(WORKER, 0, 11.0) == [Terminate(SERVER), WakeAt(16.0)]
    assert supervision.exited(SERVER, 0, 12.0) == [Finish()]


def test_a_process_that_does_not_stop_in_time_is_killed() -> None:
    """Stopping is bounded."""
    supervision = running()
    supervision.stop(10.0)
    assert supervision.tick(19.9) == []
    assert supervision.tick(20.0) == [Kill(WORKER)]
    assert supervision.exited(WORKER, -9, 20.1)[0] == Terminate(SERVER)


def test_the_second_stop_kills_what_runs() -> None:
    """Whoever presses Ctrl-C twice means it."""
    supervision = running()
    supervision.stop(10.0)
    assert supervision.stop(10.5) == [Kill(SERVER), Kill(WORKER)]


def test_stop_while_the_worker_waits_to_be_restarted_goes_straight_to_the_server() -> None:
    """A process in back-off has nothing to stop, and is not started any more."""
    supervision = running()
    supervision.exited(WORKER, -9, 3.0)
    supervision.exited(WORKER, 1, 3.1)
    assert supervision.stop(3.2)[0] == Terminate(SERVER)
    assert supervision.tick(100.0) == [Kill(SERVER)]
    assert supervision.exited(SERVER, -9, 100.1) == [Finish()]


def test_a_late_ready_changes_nothing_while_stopping() -> None:
    """A server that comes up after Ctrl-C starts no worker."""
    supervision = Supervision([WORKER])
    supervision.begin()
    supervision.stop(1.0)
    assert supervision.ready(SERVER, 1.1) == []
    assert supervision.exited(SERVER, 0, 1.2) == [Finish()]
    assert supervision.stop(2.0) == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ready", "exit", "stop", "tick", "reload"]),
        st.sampled_from([SERVER, WORKER, OTHER]),
        st.integers(0, 1),
    ),
    max_size=40,
)


@given(EVENTS)
def test_whatever_happens_the_session_can_be_ended_and_leaves_no_process(events: list[tuple[str, str, int]]) -> None:
    """In a world where processes run from Start until they exit, nothing runs after the stops and it finishes."""
    supervision = Supervision([WORKER, OTHER])
    alive: set[str] = set()
    finished: list[Action] = []
    now_s = 0.0

    def perform(actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Start(role):
                    assert role not in alive, "started twice"
                    assert not finished
                    alive.add(role)
                case Finish():
                    assert not alive
                    finished.append(action)
                case _:
                    pass

    perform(supervision.begin())
    for kind, role, code in events:
        now_s += 1.0
        if kind == "ready" and role in alive:
            perform(supervision.ready(role, now_s))
        elif kind == "exit" and role in alive:
            alive.discard(role)
            perform(supervision.exited(role, code, now_s))
        elif kind == "stop":
            perform(supervision.stop(now_s))
        elif kind == "tick":
            perform(supervision.tick(now_s))
        elif kind == "reload":
            perform(supervision.reload([WORKER, OTHER], now_s))
    for _ in range(4):
        now_s += 100.0
        perform(supervision.stop(now_s))
        for role in sorted(alive):
            alive.discard(role)
            perform(supervision.exited(role, -9, now_s))
    assert len(finished) == 1


def test_edited_code_ends_the_worker_gracefully_and_starts_it_again() -> None:
    """Without a back-off, and killed if it does not end in time."""
    supervision = running()
    deadline_s = 5.0 + WORKER_STOP_GRACE_S
    assert supervision.reload([WORKER], 5.0) == [Terminate(WORKER), WakeAt(deadline_s)]
    assert supervision.reload([WORKER], 6.0) == []
    assert supervision.tick(deadline_s) == [Kill(WORKER)]
    assert supervision.exited(WORKER, -9, deadline_s) == [Start(WORKER)]
    assert supervision.ready(WORKER, 20.0) == []


def test_code_edited_during_a_start_or_a_back_off_is_used() -> None:
    """A starting worker may have read the old code: it goes again once it is ready; a waiting one starts now."""
    supervision = running()
    supervision.reload([WORKER], 3.0)
    supervision.exited(WORKER, 0, 4.0)
    assert supervision.reload([WORKER], 5.0) == []
    assert supervision.ready(WORKER, 6.0)[0] == Terminate(WORKER)
    supervision.exited(WORKER, 0, 7.0)
    supervision.exited(WORKER, 1, 8.0)
    supervision.exited(WORKER, 1, 9.0)
    assert supervision.state(WORKER) is State.BACKOFF
    assert supervision.reload([WORKER], 9.1) == [Start(WORKER)]


def test_leaving_during_a_reload_starts_nothing() -> None:
    """The worker ends for good, then the server."""
    supervision = running()
    supervision.reload([WORKER], 3.0)
    assert supervision.stop(4.0)[0] == Terminate(WORKER)
    assert supervision.reload([WORKER], 4.5) == []
    assert supervision.exited(WORKER, 0, 5.0)[0] == Terminate(SERVER)


def group() -> Supervision:
    supervision = Supervision([WORKER, OTHER])
    supervision.begin()
    assert supervision.ready(SERVER, 1.0) == [Start(WORKER), Start(OTHER)]
    supervision.ready(WORKER, 2.0)
    supervision.ready(OTHER, 2.0)
    return supervision


def test_replicas_are_restarted_one_by_one() -> None:
    """The end of one leaves the others alone, and costs them no back-off."""
    supervision = group()
    supervision.exited(WORKER, -9, 3.0)
    assert supervision.exited(WORKER, -9, 3.1)[1] == WakeAt(3.35)
    assert supervision.state(OTHER) is State.READY
    assert supervision.exited(OTHER, -9, 3.2) == [Restarting(OTHER, -9, 0.0, True), Start(OTHER)]


def test_all_replicas_stop_together_before_the_server() -> None:
    """One after the other, each would hand its Executions to one that stops next."""
    supervision = group()
    assert supervision.stop(10.0) == [Terminate(WORKER), WakeAt(20.0), Terminate(OTHER), WakeAt(20.0)]
    assert supervision.exited(OTHER, 0, 11.0) == []
    assert supervision.tick(20.0) == [Kill(WORKER)]
    assert supervision.exited(WORKER, -9, 20.1) == [Terminate(SERVER), WakeAt(25.1)]
    assert supervision.exited(SERVER, 0, 20.2) == [Finish()]


def test_a_replica_that_dies_before_it_is_ready_is_restarted_if_another_one_was_ready() -> None:
    """The module imports: it is no mistake of the user. Before that, it is."""
    supervision = Supervision([WORKER, OTHER])
    supervision.begin()
    supervision.ready(SERVER, 1.0)
    supervision.ready(WORKER, 2.0)
    assert supervision.exited(OTHER, -9, 2.1) == [Restarting(OTHER, -9, 0.0, False), Start(OTHER)]
    supervision = Supervision([WORKER, OTHER])
    supervision.begin()
    supervision.ready(SERVER, 1.0)
    assert supervision.exited(OTHER, 1, 2.0)[0] == Terminate(WORKER)
    assert supervision.exited(WORKER, 0, 2.1)[0] == Terminate(SERVER)
    assert supervision.exited(SERVER, 0, 2.2) == [Finish(OTHER)]
