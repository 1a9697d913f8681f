"""Random async programs: a tree of operations made from a seed, and the function with a context that runs it.

All branches of a program share one ``Shared``: its hash goes into the arguments of every step and child, and everything
that happens is mixed into it, so that any slip of order shows in a digest, a value or the trace.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import world as worlds

from kontinue.context import ExecutionContext
from kontinue.definition import define
from kontinue.errors import ChildFailed, StepFailed
from kontinue.steps import step

MAX_DEPTH = 7


class Shared:
    """What the branches of one program share."""

    def __init__(self) -> None:
        self.hash = 0
        self.trace: list[Any] = []

    def note(self, *what: Any) -> int:
        self.trace.append(list(what))
        self.hash = zlib.crc32(repr((self.hash, what)).encode())
        return self.hash


async def work(label: int, state: int) -> int:
    """An async step."""
    await worlds.of_step().gate_async()
    return worlds.value_of(label, state, worlds.of_step().attempt)


@step(name="work_in_thread")
def work_in_thread(label: int, state: int) -> int:
    """A sync step of an async function."""
    worlds.of_step().gate_sync()
    return worlds.value_of(label, state, worlds.of_step().attempt)


async def child(label: int, state: int) -> int:
    """Never runs here: the fake supervisor answers."""
    raise NotImplementedError


child_function = define(child)


def generate(rng: random.Random, depth: int = 0) -> list[Any]:
    """Return a random operation: [name, parameter, operations...]."""
    leaf = rng.choice(["step", "step", "step", "thread", "child", "sleep", "loop_sleep", "draw"])
    if depth >= MAX_DEPTH or rng.random() < 0.12 + 0.1 * depth:
        return [leaf, rng.randrange(1000)]
    name = rng.choice([
        "sequence", "sequence", "gather", "gather", "gather_calls", "tasks", "group", "queue", "race", "completed",
        "wait_for", "timeout", "loop_timeout", "cancel", "shield", "semaphore", "event", "generator", "wait", "spawn",
        "map", "finally",
    ])  # fmt: skip
    count = {0: 3, 1: 3, 2: 2}.get(depth, rng.choice([1, 2]))
    return [name, rng.randrange(1000), *(generate(rng, depth + 1) for _ in range(rng.randint(1, count)))]


def make_spec(seed: int) -> list[Any]:
    """Return the program of ``seed``."""
    rng = random.Random(seed)
    while True:
        spec = ["sequence", 0, *(generate(rng, 1) for _ in range(rng.randint(1, 3)))]
        if 3 <= _size(spec) <= 40:
            return spec


def _size(spec: list[Any]) -> int:
    return 1 + sum(_size(part) for part in spec[2:])


class Program:
    """Runs a specification."""

    def __init__(self, ctx: ExecutionContext) -> None:
        self.ctx = ctx
        self.shared = Shared()
        worlds.current().shared = self.shared

    async def run(self, spec: list[Any]) -> int:
        name, label, *parts = spec
        self.shared.note("enter", name, label)
        try:
            value = await getattr(self, f"do_{name}")(label, parts)
        except (StepFailed, ChildFailed) as error:
            self.shared.note("failed", error.type, error.message)
            if label % 3 in worlds.current().passes_on:
                raise
            value = -1
        except TimeoutError as error:
            self.shared.note("timeout", type(error).__name__)
            value = -2
        except asyncio.CancelledError:
            self.shared.note("cancelled", name, label)
            raise
        self.shared.note("leave", name, value)
        return int(value)

    async def do_step(self, label: int, parts: list[Any]) -> int:
        return await self.ctx.step(work, label, self.shared.hash)

    async def do_thread(self, label: int, parts: list[Any]) -> int:
        return await self.ctx.step(work_in_thread, label, self.shared.hash)

    async def do_child(self, label: int, parts: list[Any]) -> int:
        return await self.ctx.execute(child_function, label, self.shared.hash)

    async def do_sleep(self, label: int, parts: list[Any]) -> int:
        if label % 2:
            return await self.ctx.suspend(int, timeout=timedelta(days=1))
        await self.ctx.sleep(timedelta(milliseconds=label + 1))
        return label

    async def do_loop_sleep(self, label: int, parts: list[Any]) -> int:
        for _ in range(label % 4):
            await asyncio.sleep(0)
        await asyncio.sleep((label + 1) / 1000)
        return label

    async def do_draw(self, label: int, parts: list[Any]) -> int:
        self.shared.note(str(self.ctx.uuid()), self.ctx.random.random(), self.ctx.now().isoformat())
        await asyncio.sleep(0)
        return self.ctx.random.randrange(100)

    async def do_sequence(self, label: int, parts: list[Any]) -> int:
        return sum([await self.run(part) for part in parts])

    async def do_gather(self, label: int, parts: list[Any]) -> int:
        results = await asyncio.gather(*(self.run(part) for part in parts), return_exceptions=label % 2 == 0)
        return sum(result for result in results if isinstance(result, int))

    async def do_gather_calls(self, label: int, parts: list[Any]) -> int:
        calls = [
            self.ctx.step(work, label, self.shared.hash),
            self.ctx.execute(child_function, label + 1, self.shared.hash),
            self.ctx.step(work, label + 2, self.shared.note("third")),
            *(self.run(part) for part in parts),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        self.shared.note([str(result) for result in results])
        return label

    async def do_tasks(self, label: int, parts: list[Any]) -> int:
        tasks = [asyncio.create_task(self.run(part)) for part in parts]
        for _ in range(label % 3):
            await asyncio.sleep(0)
        results = await asyncio.gather(*reversed(tasks), return_exceptions=True)
        return sum(result for result in results if isinstance(result, int))

    async def do_group(self, label: int, parts: list[Any]) -> int:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.run(part)) for part in parts]
                group.create_task(self._fail_after(label)) if label % 2 else None
        except* (StepFailed, ChildFailed, ValueError) as errors:
            self.shared.note("group", [str(error) for error in errors.exceptions])
        return sum(task.done() and not task.cancelled() for task in tasks)

    async def _fail_after(self, label: int) -> None:
        await self.ctx.step(work, label * 7 + 1, self.shared.hash)
        raise ValueError(label)

    async def do_queue(self, label: int, parts: list[Any]) -> int:
        queue: asyncio.Queue[list[Any]] = asyncio.Queue(maxsize=label % 3)
        taken: list[int] = []

        async def worker(number: int) -> None:
            while True:
                part = await queue.get()
                taken.append(number)
                self.shared.note("worker", number, part[:2])
                try:
                    await self.run(part)
                except (StepFailed, ChildFailed) as error:
                    self.shared.note("worker failed", error.type)
                finally:
                    queue.task_done()

        workers = [asyncio.create_task(worker(number)) for number in range(2 + label % 2)]
        for index in range(len(parts) + 2):
            await queue.put(parts[index] if index < len(parts) else ["step", label + index])
        await queue.join()
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return sum(taken)

    async def do_race(self, label: int, parts: list[Any]) -> int:
        more = [self.ctx.sleep(timedelta(milliseconds=label))] if label % 2 else [self.ctx.step(work, label, 0)]
        winner, value = await self.ctx.race(*(self.run(part) for part in parts), *more)
        self.shared.note("winner", winner, value)
        return winner

    async def do_completed(self, label: int, parts: list[Any]) -> int:
        order = []
        async for position, value in self.ctx.as_completed([self.run(part) for part in parts]):
            order.append(self.shared.note("completed", position, value))
            if label % 5 == 0:
                break
        return len(order)

    async def do_wait_for(self, label: int, parts: list[Any]) -> int:
        limit = timedelta(milliseconds=label)
        if label % 2:
            return await self.ctx.wait_for(self.run(parts[0]), limit)
        return await asyncio.wait_for(self.run(parts[0]), limit.total_seconds())

    async def do_timeout(self, label: int, parts: list[Any]) -> int:
        async with self.ctx.timeout(timedelta(milliseconds=label)):
            return await self.do_sequence(label, parts)

    async def do_loop_timeout(self, label: int, parts: list[Any]) -> int:
        async with asyncio.timeout(label / 1000):
            return await self.do_gather(label, parts)

    async def do_cancel(self, label: int, parts: list[Any]) -> int:
        task = asyncio.create_task(self.run(parts[0]))
        await self.ctx.step(work, label * 7 + 1, self.shared.hash)
        task.cancel()
        for part in parts[1:]:
            await self.run(part)
        results = await asyncio.gather(task, return_exceptions=True)
        self.shared.note("canceled", [type(result).__name__ for result in results])
        return label

    async def do_shield(self, label: int, parts: list[Any]) -> int:
        task = asyncio.create_task(self.run(parts[0]))
        try:
            async with asyncio.timeout((label + 1) / 1000):
                await asyncio.shield(task)
        except TimeoutError:
            self.shared.note("shielded")
        return await task

    async def do_semaphore(self, label: int, parts: list[Any]) -> int:
        semaphore = asyncio.Semaphore(1 + label % 2)

        async def limited(part: list[Any]) -> int:
            async with semaphore:
                self.shared.note("inside", part[:2])
                return await self.run(part)

        results = await asyncio.gather(*(limited(part) for part in parts * 2), return_exceptions=True)
        return sum(result for result in results if isinstance(result, int))

    async def do_event(self, label: int, parts: list[Any]) -> int:
        event = asyncio.Event()

        async def waiter(part: list[Any]) -> int:
            await event.wait()
            return await self.run(part)

        tasks = [asyncio.create_task(waiter(part)) for part in parts * 2]
        try:
            await self.ctx.step(work, label, self.shared.hash)
        finally:
            event.set()
        return len(await asyncio.gather(*tasks, return_exceptions=True))

    async def do_generator(self, label: int, parts: list[Any]) -> int:
        async def items() -> AsyncIterator[int]:
            try:
                for part in parts:
                    yield await self.run(part)
            finally:
                self.shared.note("generator closed")

        total = 0
        async for item in items():
            total += item
            if label % 3 == 0:
                break
        await asyncio.sleep(0)
        return total

    async def do_wait(self, label: int, parts: list[Any]) -> int:
        tasks = {asyncio.create_task(self.run(part)) for part in parts * 2}
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            self.shared.note("done", task.exception() is None and task.result())
        for task in pending:
            if label % 2:
                task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            self.shared.note("pending", [repr(result) for result in results])
        return len(done)

    async def do_spawn(self, label: int, parts: list[Any]) -> int:
        handle = await self.ctx.spawn(child_function, label, self.shared.hash)
        for part in parts:
            await self.run(part)
        if label % 5 == 0:
            await handle.cancel("not needed")
        if label % 7 == 0:
            return 0
        return await handle.result(timeout=timedelta(milliseconds=label) if label % 2 else None)

    async def do_map(self, label: int, parts: list[Any]) -> int:
        function = child_function.options(parallelism=2) if label % 2 else child_function
        return sum(await self.ctx.map(function, [label + index for index in range(4)], self.shared.hash))

    async def do_finally(self, label: int, parts: list[Any]) -> int:
        try:
            return await self.do_sequence(label, parts)
        finally:
            self.shared.note("cleaning up", await self.ctx.step(work, label * 7 + 1, self.shared.hash))


async def program(ctx: ExecutionContext, seed: int) -> int:
    """The function under test."""
    running = Program(ctx)
    total = await running.run(make_spec(seed))
    return running.shared.note("end", total)


FUNCTIONS = {"program": define(program)}
