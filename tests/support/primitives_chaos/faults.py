"""One fault: what dies, and when."""

from __future__ import annotations

import asyncio
import enum
import signal
from random import Random

import msgspec

from chaos.pods import Pod, send_signal
from primitives_chaos import mortal
from primitives_chaos.world import World

LAST_MOMENT_S = 0.6
"""A round takes about so long if nothing happens."""
REQUESTS_OF_CLIENT, REQUESTS_OF_COORDINATOR = 36, 20
"""What each sends in most rounds."""
LONGEST_PAUSE_S = 1.5


class Victim(enum.StrEnum):
    """What a fault strikes."""

    CLIENT = "client"
    COORDINATOR = "coordinator"
    API_SERVER = "API server"
    WORKER = "worker"
    RUNNER = "runner"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault, always SIGKILL.

    Attributes:
        victim: what it strikes.
        at_request: the victim's own request, counted from the round's begin; 0: at a moment, whatever is under way.
        when: before the request is sent, or once it is answered.
        after_s: the moment.
        pause_s: how long what is started again is away.
        which: of the clients.
    """

    victim: Victim
    at_request: int = 0
    when: str = mortal.BEFORE
    after_s: float = 0.0
    pause_s: float = 0.0
    which: int = 0

    @property
    def kind(self) -> str:
        """What figures are kept by."""
        how = f" {self.when} a request" if self.at_request else ""
        return f"{self.victim} killed{how}"


def choose_fault(rng: Random, *, clients: int) -> Fault:
    """Return a fault, each victim as likely as any other."""
    victim = rng.choice(list(Victim))
    counts = {Victim.CLIENT: REQUESTS_OF_CLIENT, Victim.COORDINATOR: REQUESTS_OF_COORDINATOR}
    is_at_request = victim in counts and rng.random() < 0.6
    return Fault(
        victim=victim,
        at_request=rng.randint(1, counts[victim]) if is_at_request else 0,
        when=rng.choice((mortal.BEFORE, mortal.AFTER)),
        after_s=rng.uniform(0, LAST_MOMENT_S),
        pause_s=rng.choice((0.0, rng.uniform(0.05, LONGEST_PAUSE_S))),
        which=rng.randrange(clients),
    )


async def strike(fault: Fault, world: World, worker: Pod) -> None:
    """Carry it out. Who is to die at a request dies when he gets there, which need not be in this round."""
    world.coordinator.pause_s = worker.pause_s = fault.pause_s
    struck = world.clients[fault.which] if fault.victim is Victim.CLIENT else world.coordinator
    if fault.at_request:
        struck.kill_at(fault.at_request, fault.when)
        return
    await asyncio.sleep(fault.after_s)
    match fault.victim:
        case Victim.API_SERVER:
            await asyncio.to_thread(world.server.kill)
            await asyncio.sleep(fault.pause_s)
            await asyncio.to_thread(world.server.start)
        case Victim.WORKER:
            send_signal([worker.pid], signal.SIGKILL)
        case Victim.RUNNER:
            send_signal(worker.runner_pids(), signal.SIGKILL)
        case _:
            struck.kill()
