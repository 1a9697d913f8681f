"""Random sync programs: the twin of ``async_programs``, with branches in threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import world as worlds
from async_programs import Shared, _size

from kontinue.context import SyncExecutionContext
from kontinue.definition import define
from kontinue.errors import ChildFailed, StepFailed

MAX_DEPTH = 5


def work(label: int, state: int) -> int:
    """A step."""
    worlds.of_step().gate_sync()
    return worlds.value_of(label, state, worlds.of_step().attempt)


def child(label: int, state: int) -> int:
    """Never runs here: the fake supervisor answers."""
    raise NotImplementedError


child_function = define(child)


def generate(rng: random.Random, depth: int = 0) -> list[Any]:
    """Return a random operation: [name, parameter, operations...]."""
    leaf = rng.choice(["step", "step", "step", "child", "sleep", "draw"])
    if depth >= MAX_DEPTH or rng.random() < 0.12 + 0.1 * depth:
        return [leaf, rng.randrange(1000)]
    name = rng.choice([
        "sequence", "sequence", "gather", "gather", "gather", "race", "completed", "wait_for", "timeout", "spawn",
        "map", "finally", "pool",
    ])  # fmt: skip
    count = {0: 3, 1: 3, 2: 2}.get(depth, rng.choice([1, 2]))
    return [name, rng.randrange(1000), *(generate(rng, depth + 1) for _ in range(rng.randint(1, count)))]


def make_spec(seed: int) -> list[Any]:
    """Return the program of ``seed``."""
    rng = random.Random(seed)
    while True:
        spec = ["sequence", 0, *(generate(rng, 1) for _ in range(rng.randint(1, 3)))]
        if 3 <= _size(spec) <= 30:
            return spec


class Program:
    """Runs a specification."""

    def __init__(self, ctx: SyncExecutionContext) -> None:
        self.ctx = ctx
        self.shared = Shared()
        worlds.current().shared = self.shared

    def run(self, spec: list[Any]) -> int:
        name, label, *parts = spec
        self.shared.note("enter", name, label)
        try:
            value = getattr(self, f"do_{name}")(label, parts)
        except (StepFailed, ChildFailed) as error:
            self.shared.note("failed", error.type, error.message)
            if label % 3 == 0:
                raise
            value = -1
        except TimeoutError as error:
            self.shared.note("timeout", type(error).__name__)
            value = -2
        except BaseException as error:
            self.shared.note("interrupted", name, type(error).__name__)
            raise
        self.shared.note("leave", name, value)
        return int(value)

    def code(self, part: list[Any]) -> Callable[[], int]:
        return lambda: self.run(part)

    def do_step(self, label: int, parts: list[Any]) -> int:
        return self.ctx.step(work, label, self.shared.hash)

    def do_child(self, label: int, parts: list[Any]) -> int:
        return self.ctx.execute(child_function, label, self.shared.hash)

    def do_sleep(self, label: int, parts: list[Any]) -> int:
        if label % 2:
            return self.ctx.suspend(int, timeout=timedelta(days=1))
        self.ctx.sleep(timedelta(milliseconds=label + 1))
        return label

    def do_draw(self, label: int, parts: list[Any]) -> int:
        self.shared.note(str(self.ctx.uuid()), self.ctx.random.random(), self.ctx.now().isoformat())
        return self.ctx.random.randrange(100)

    def do_sequence(self, label: int, parts: list[Any]) -> int:
        return sum([self.run(part) for part in parts])

    def do_gather(self, label: int, parts: list[Any]) -> int:
        handle = self.ctx.spawn(child_function, label * 7 + 1, self.shared.hash)
        return sum(self.ctx.gather(*(self.code(part) for part in parts), handle))

    def do_race(self, label: int, parts: list[Any]) -> int:
        winner, value = self.ctx.race(*(self.code(part) for part in parts), lambda: self.run(["sleep", label]))
        self.shared.note("winner", winner, value)
        return winner

    def do_completed(self, label: int, parts: list[Any]) -> int:
        order = []
        for position, value in self.ctx.as_completed([self.code(part) for part in parts]):
            order.append(self.shared.note("completed", position, value))
            if label % 5 == 0:
                break
        return len(order)

    def do_wait_for(self, label: int, parts: list[Any]) -> int:
        return self.ctx.wait_for(self.code(parts[0]), timedelta(milliseconds=label + 1))

    def do_timeout(self, label: int, parts: list[Any]) -> int:
        with self.ctx.timeout(timedelta(milliseconds=label + 1)):
            return self.do_sequence(label, parts)

    def do_spawn(self, label: int, parts: list[Any]) -> int:
        handle = self.ctx.spawn(child_function, label, self.shared.hash)
        for part in parts:
            self.run(part)
        if label % 5 == 0:
            handle.cancel("not needed")
        if label % 7 == 0:
            return 0
        return handle.result(timeout=timedelta(milliseconds=label + 1) if label % 2 else None)

    def do_map(self, label: int, parts: list[Any]) -> int:
        function = child_function.options(parallelism=2) if label % 2 else child_function
        return sum(self.ctx.map(function, [label + index for index in range(4)], self.shared.hash))

    def do_pool(self, label: int, parts: list[Any]) -> int:
        """Branches that take work from one list: who takes what depends on the order of everything."""
        left = [*parts, *(["step", label + index] for index in range(3))]

        def worker(number: int) -> int:
            done = 0
            while left:
                part = left.pop(0)
                self.shared.note("worker", number, part[:2])
                done += self.run(part)
            return done

        return sum(self.ctx.gather(*((lambda number=number: worker(number)) for number in range(2 + label % 2))))

    def do_finally(self, label: int, parts: list[Any]) -> int:
        try:
            return self.do_sequence(label, parts)
        finally:
            self.shared.note("cleaning up")


def program(ctx: SyncExecutionContext, seed: int) -> int:
    """The function under test."""
    running = Program(ctx)
    total = running.run(make_spec(seed))
    return running.shared.note("end", total)


FUNCTIONS = {"program": define(program)}
