"""Internal. The loop of one of the leader's duties: plan, carry out several commands at a time, plan again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Generic, TypeVar

from kontinue_engine.kube.waiting import until_set

C = TypeVar("C")


class Errands(Generic[C]):
    """Commands of one duty.

    Args:
        name: of the tasks.
        in_flight: how many commands are carried out at a time.
        plan: returns what is to be done now, and the seconds until it may have something new to say although there is
            no news; None for never.
        carry_out: carries out one command, and deals with what may go wrong.

    Attributes:
        news: set it when ``plan`` may have something new to say.
    """

    def __init__(
        self,
        name: str,
        *,
        in_flight: int,
        plan: Callable[[], tuple[Iterable[C], float | None]],
        carry_out: Callable[[C], Coroutine[None, None, None]],
    ) -> None:
        self.news = asyncio.Event()
        self._name = name
        self._in_flight = in_flight
        self._plan = plan
        self._carry_out = carry_out
        self._commands: deque[C] = deque()
        self._has_commands = asyncio.Semaphore(0)

    async def run(self) -> None:
        """Plan and carry out until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._in_flight):
                tasks.create_task(self._work(), name=f"{self._name}/{number}")
            while True:
                self.news.clear()
                commands, look_s = self._plan()
                for command in commands:
                    self._commands.append(command)
                    self._has_commands.release()
                await until_set(self.news, look_s)

    async def _work(self) -> None:
        while True:
            await self._has_commands.acquire()
            await self._carry_out(self._commands.popleft())
            self.news.set()
