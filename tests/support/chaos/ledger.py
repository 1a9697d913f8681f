"""The ledger outside: what effects there were, in which order, under which fencing token.

A receiver as the documentation asks for: it refuses a token lower than one it has seen for the same Execution. It is no
part of the world that faults strike. Asked by ``chaos.app`` over loopback, one line of JSON each way.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Effect:
    """One accepted effect.

    Attributes:
        number: position among all effects: the step's result.
        execution: name.
        step: step id.
        token: fencing token.
        holder: pid of the zygote that the effect's runner comes from; each process of a replica has another one.
        runner: pid of the runner.
        at_s: monotonic time.
    """

    number: int
    execution: str
    step: str
    token: int
    holder: int
    runner: int
    at_s: float


class Ledger:
    """Accepts and refuses effects.

    Args:
        limits: function -> how many Executions of it may run at once.

    Attributes:
        refused: how many were refused.
        slots_taken: by how many Executions of functions with a limit.
        most_at_once: of one such function.
        violations: what no receiver should ever see.
    """

    def __init__(self, limits: Mapping[str, int] = {}) -> None:
        self.refused = 0
        self.slots_taken = 0
        self.most_at_once = 0
        self.violations: list[str] = []
        self._count = 0
        self._of: dict[str, list[Effect]] = defaultdict(list)
        self._inside: dict[str, str] = {}
        self._limits = limits
        self._running: dict[str, set[str]] = {function: set() for function in limits}

    def __len__(self) -> int:
        return self._count

    def of(self, execution: str) -> list[Effect]:
        """Return the effects of an Execution, in their order."""
        return self._of.get(execution, [])

    def runner_of(self, execution: str) -> int:
        """Return the pid of the runner of its last effect; 0 if it had none."""
        return known[-1].runner if (known := self.of(execution)) else 0

    def accept(self, report: dict[str, Any], now_s: float) -> int | None:
        """Note an effect and return its number; None if it is refused.

        ``enter`` and ``leave`` in a report name a mutex that its Execution believes to hold, ``take`` and
        ``leave_slot`` a function with a limit that it is an Execution of.
        """
        execution, token, holder = report["execution"], report["token"], report["holder"]
        known = self._of[execution]
        if known and token < known[-1].token:
            self.refused += 1
            return None
        self._count += 1
        effect = Effect(self._count, execution, report["step"], token, holder, report["runner"], now_s)
        if known and known[-1].holder != holder and any(one.holder == holder for one in known):
            self.violations.append(
                f"{execution}: two replicas in turn have effects, the receiver cannot tell: {effect}"
            )
        known.append(effect)
        self._check_mutex(execution, report)
        self._check_limit(execution, report)
        return self._count

    def _check_mutex(self, execution: str, report: dict[str, Any]) -> None:
        if mutex := report.get("enter"):
            inside = self._inside.setdefault(mutex, execution)
            if inside != execution:
                self.violations.append(f"mutex {mutex}: {execution} holds it beside {inside}")
        if (mutex := report.get("leave")) and self._inside.get(mutex) == execution:
            del self._inside[mutex]

    def _check_limit(self, execution: str, report: dict[str, Any]) -> None:
        """A runner that is killed leaves nothing: its Execution keeps the slot, and leaves it when it runs again."""
        if (function := report.get("take")) and execution not in (running := self._running[function]):
            running.add(execution)
            self.slots_taken += len(self.of(execution)) == 1
            self.most_at_once = max(self.most_at_once, len(running))
            if len(running) > self._limits[function]:
                names = ", ".join(sorted(running))
                self.violations.append(
                    f"{function} has a limit of {self._limits[function]}, and these run at once: {names}"
                )
        if function := report.get("leave_slot"):
            self._running[function].discard(execution)


@contextlib.asynccontextmanager
async def served(ledger: Ledger) -> AsyncIterator[int]:
    """Serve a ledger on loopback; gives the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A runner may be killed at any byte.
        with contextlib.suppress(ConnectionError, json.JSONDecodeError):
            number = ledger.accept(json.loads(await reader.readline()), time.monotonic())
            said = {"number": number} if number is not None else {"refused": "a higher fencing token was seen"}
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def has_gone_on(effects: Sequence[Effect], since_s: float, *, dead: Collection[int] = ()) -> bool:
    """Tell whether an Execution has effects since that time.

    Two are asked for, because the first may have been under way already; of a runner that is not among the ``dead``,
    if there are such, one is enough.
    """
    later = [effect for effect in effects if effect.at_s > since_s and effect.runner not in dead]
    return len(later) > (0 if dead else 1)
