"""The judges of ``make chaos-primitives`` see what is wrong: each promise is broken once on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from kontinue.api.konductor.onces import OnceStatus
from kontinue.api.konductor.wait_groups import WaitGroupHolder, WaitGroupStatus
from kontinue.sync import HolderKind
from primitives_chaos.book import Book, Event, Line, read_book
from primitives_chaos.faults import Victim, choose_fault
from primitives_chaos.judges import judge_counter, judge_held, judge_once, judge_opening


def entered(id_: str, token: int = 0, *, shared: bool = False, pid: int = 1, at_s: float = 0.0) -> Line:
    return Line(event=Event.ENTERED, subject="s", who=id_, id=id_, token=token, is_shared=shared, pid=pid, at_s=at_s)


def left(id_: str) -> Line:
    return Line(event=Event.LEFT, subject="s", who=id_, id=id_)


def lost(id_: str, at_s: float = 0.0) -> Line:
    return Line(event=Event.LOST, subject="s", who=id_, id=id_, at_s=at_s)


def says(event: Event, id_: str) -> Line:
    return Line(event=event, subject="s", who=id_, id=id_)


def test_who_takes_turns_is_fine():
    """Also readers among themselves, whichever of them writes first."""
    turns = [entered("a", 1), left("a"), entered("b", 2), left("b")]
    assert judge_held(turns, "s", room=1).violations == []
    readers = [entered("b", 2, shared=True), left("b"), entered("a", 1, shared=True), left("a"), entered("w", 3)]
    held = judge_held(readers, "s", room=1)
    assert (held.violations, held.times, held.most) == ([], 3, 1)
    many = [entered("a", 1, shared=True), entered("b", 2, shared=True), entered("c", 3, shared=True)]
    assert judge_held(many, "s", room=1).violations == []


@pytest.mark.parametrize(
    "lines",
    [
        [entered("a", 1), entered("b", 2), left("a")],
        [entered("r", 1, shared=True), entered("w", 2)],
        [entered("w", 1), entered("r", 2, shared=True), left("w")],
        [entered("a", 2), left("a"), entered("b", 1)],
        [entered("a", 1), left("a"), entered("b", 1)],
        [entered("r", 2, shared=True), left("r"), entered("w", 1)],
        [entered("a", 1, pid=7), entered("b", 2), Line(event=Event.DIED, pid=7)],
    ],
)
def test_two_at_once_and_tokens_that_do_not_grow_are_found(lines: list[Line]):
    """Of writers, of a reader beside a writer, and of one that dies only afterwards."""
    assert judge_held(lines, "s", room=1).violations


def test_more_than_there_is_room_for_are_found():
    """And the most are told."""
    lines = [entered("a"), entered("b"), left("a"), entered("c")]
    assert (judge_held(lines, "s", room=2).violations, judge_held(lines, "s", room=2).most) == ([], 2)
    assert judge_held(lines, "s", room=1).violations


def test_who_is_dead_is_not_inside():
    """From his end on, whatever he held."""
    lines = [entered("a", 1, pid=7), Line(event=Event.DIED, pid=7), entered("b", 2, pid=8)]
    assert judge_held(lines, "s", room=1).violations == []


def test_an_execution_that_repeats_a_step_is_not_inside_twice():
    """It is the same holding, under the same id and token; another token of its own is one that has to grow."""
    again = [entered("e", 1), entered("e", 1), left("e"), left("e"), entered("b", 2)]
    assert judge_held(again, "s", room=1).violations == []
    assert judge_held([entered("b", 2), left("b"), entered("e", 1), entered("e", 1)], "s", room=1).violations


def test_who_finds_that_he_has_lost_it_is_late_and_no_violation():
    """A process that got no time cannot know; what it writes to refuses its token."""
    lines = [entered("a", 1, at_s=10.0), entered("b", 2, at_s=14.5), lost("a", 15.0), left("b")]
    held = judge_held(lines, "s", room=1, late_s=4.0)
    assert (held.violations, held.late) == ([], 1)


@pytest.mark.parametrize(("late_s", "found_s"), [(0.0, 14.5), (0.0, 15.0), (4.0, 18.5), (4.0, 60.0)])
def test_a_broken_fence_is_no_lateness(late_s: float, found_s: float):
    """Whoever finds later than he may that he has lost it was one of two, whatever he finds; so is who never does."""
    lines = [entered("a", 1, at_s=10.0), entered("b", 2, at_s=14.5), left("b"), lost("a", found_s), lost("a", 15.0)]
    held = judge_held(lines, "s", room=1, late_s=late_s)
    assert (len(held.violations), held.late) == (1, 0)
    assert judge_held([lines[0], lines[1], left("a"), left("b")], "s", room=1, late_s=4.0).violations


def test_an_old_token_is_excused_no_longer_than_a_loss():
    """Who enters with it, and does not find soon that he has lost it, is told."""
    turns = [entered("b", 2, at_s=14.0), left("b"), entered("a", 1, at_s=14.5)]
    assert judge_held([*turns, lost("a", 15.0)], "s", room=1, late_s=4.0).violations == []
    assert judge_held([*turns, lost("a", 15.0)], "s", room=1).violations
    assert judge_held([*turns, lost("a", 19.0)], "s", room=1, late_s=4.0).violations


def test_who_goes_on_too_early_or_never_is_found():
    """What is said twice, in two lives, counts once."""
    means = [says(Event.MEANS_TO, one) for one in "aab"]
    opened = says(Event.OPENED, "w")
    assert judge_opening([*means, opened], "s", required=2, waiting=1) == []
    assert judge_opening([*means, opened], "s", required=3, waiting=1)
    assert judge_opening([opened, *means], "s", required=2, waiting=1)
    assert judge_opening([*means, opened], "s", required=2, waiting=2)
    gate = Line(event=Event.OPENED, subject="gate", who="w")
    assert judge_opening([*means, gate], "s", required=2, waiting=1, opened="gate") == []
    assert judge_opening([gate, *means], "s", required=2, waiting=1, opened="gate")


def test_a_once_that_was_not_done_or_done_again_is_found():
    """Executed is what has come to its end, and nobody tries it after that."""
    done = OnceStatus(executed=True, token=2)
    died, whole = [entered("a", 1)], [entered("b", 2), left("b")]
    assert judge_once([*died, *whole], "s", done) == []
    assert judge_once(died, "s", OnceStatus(token=1))
    assert judge_once([*died, entered("b", 2)], "s", done)
    assert judge_once([*died, *whole, entered("c", 3)], "s", done)


@pytest.mark.parametrize(
    "status",
    [
        WaitGroupStatus(counter=1, added=3, rounds=1),
        WaitGroupStatus(counter=0, added=3, rounds=2),
        WaitGroupStatus(counter=0, added=4, rounds=1),
        WaitGroupStatus(counter=0, added=3, rounds=1, holders=[WaitGroupHolder(kind=HolderKind.POD, name="p")]),
    ],
)
def test_a_counter_that_has_lost_or_doubled_something_is_found(status: WaitGroupStatus):
    """It ends at 0, once, with all that was added."""
    assert judge_counter("jobs", WaitGroupStatus(counter=0, added=3, rounds=1), added=3) == []
    assert judge_counter("jobs", status, added=3)


def test_the_ledger_keeps_what_processes_write(tmp_path: Path):
    """In one order, line by line."""
    books = [Book(tmp_path / "ledger", who) for who in "ab"]
    for book in books:
        book.write(Event.ENTERED, "s", id="1", token=3, is_shared=True)
    books[0].write(Event.DIED, pid=7)
    for book in books:
        book.close()
    lines = read_book(tmp_path / "ledger")
    assert [(one.who, one.event, one.token, one.pid) for one in lines] == [
        ("a", Event.ENTERED, 3, os.getpid()),
        ("b", Event.ENTERED, 3, os.getpid()),
        ("a", Event.DIED, 0, 7),
    ]


def test_a_seed_names_the_faults():
    """And all victims are struck."""
    faults = [[choose_fault(rng, clients=4) for _ in range(40)] for rng in (Random(5), Random(5))]
    assert faults[0] == faults[1]
    assert {one.victim for one in faults[0]} == set(Victim)


MORTAL = """
import asyncio, sys
from pathlib import Path
from kontinue.kube import requests
from kontinue.kube.http import KubeTransport
from primitives_chaos import mortal

async def send(self, request, **options):
    print(request.method, flush=True)
    return b""

async def main():
    KubeTransport.send = send
    mortal.obey(Path(sys.argv[1]))
    mortal.give(Path(sys.argv[1]), 2, sys.argv[2])
    for resource in (requests.MUTEXES, requests.PODS, requests.MUTEXES):
        await KubeTransport.send(None, requests.get(resource, "default", "a"))
    print("lives")

asyncio.run(main())
"""


@pytest.mark.parametrize(("when", "sent"), [("before", 2), ("after", 3)])
def test_a_process_dies_at_the_request_that_it_was_told(tmp_path: Path, when: str, sent: int):
    """Counted are those about primitives; the last one is carried out, or is not."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    command = [sys.executable, "-c", MORTAL, str(tmp_path / "order"), when]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (-9, [b"GET"] * sent)
