"""Pauses are spread: over forks, over programs that are seeded alike, and without a change to a program's own draws."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[3] / "support"
PAUSES = ("backoff", "watches", "conflicts")

DRAWING = """
import os, random, warnings
from contextlib import aclosing
from kontinue import errors
from kontinue.api.konductor.counting import Operation
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.backoff import Backoff
from kontinue.kube.reflector import Reflector
from kontinue.sync.wait_groups.counter import Counter
from scripted_transport import ScriptedTransport
from stored_wait_group import StoredWaitGroup
from virtual_time import elapsed_s, virtual_time

@virtual_time
async def follow():
    transport = ScriptedTransport()
    transport.answer = lambda _: b'{"metadata": {"resourceVersion": "1"}, "items": []}'
    transport.watches.extend([()] * 8)
    async with aclosing(Reflector(transport, requests.EXECUTIONS, "ns", type_=Execution).follow()) as news:
        async for _ in news:
            if len(transport.watched) == 8:
                break
    print("watches", *(one.query for one in transport.watched))

@virtual_time
async def count():
    stored, tried_s = StoredWaitGroup(), []
    def before(request):
        if request.method == "PUT" and len(tried_s) < 8:
            tried_s.append(elapsed_s())
            raise errors.Conflict("modified", status=409, reason="Conflict")
    stored.before = before
    await Counter(stored, "ns", "jobs", retry_for_s=30.0).count(Operation(delta=1))
    print("conflicts", *tried_s)

def draw():
    random.seed(42)
    first = random.random()
    random.seed(42)
    print("backoff", Backoff().next_s())
    follow()
    count()
    print("undisturbed", random.random() == first, flush=True)

warnings.simplefilter("ignore", DeprecationWarning)  # of forks
for _ in range(2):
    if not os.fork():
        draw()
        os._exit(0)
    assert os.wait()[1] == 0
draw()
draw()
"""


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, str]]:
    """Return what two forks have drawn, and their parent, which seeds ``random`` twice as they do."""
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, "-c", DRAWING]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    lines = [line.partition(" ") for line in ended.stdout.splitlines()]
    each = len(PAUSES) + 1
    return [{what: text for what, _, text in lines[at : at + each]} for at in range(0, len(lines), each)]


@pytest.mark.parametrize("what", PAUSES)
def test_forks_and_those_that_seed_alike_pause_each_for_its_own_time(drawn: list[dict[str, str]], what: str):
    """As servers that fork their workers do, and crowds of one program: in step they would meet again and again."""
    assert len({one[what] for one in drawn}) == len(drawn) == 4


def test_a_program_that_seeds_its_random_numbers_gets_its_own_sequence(drawn: list[dict[str, str]]):
    """We draw nothing from it."""
    assert [one["undisturbed"] for one in drawn] == ["True"] * 4
