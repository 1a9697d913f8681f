"""What goes wrong in a world, and what clients want of it: chosen by its seed, written into its timeline."""

from __future__ import annotations

import dataclasses
from typing import Any

import programs
from network import Weather
from runners import FUNCTION, LIMITED

from kontinue.api import labels

KINDS = (
    *("kill", "kill", "freeze", "freeze", "sleep", "terminate", "terminate", "cut", "cut", "restart_server"),
    *("rain", "rain", "busy", "stall", "conflicts", "crash_runner", "evict", "break_watches", "compact"),
    *("scale_up", "scale_down", "twice", "cancel", "switch", "new_build"),
)


def plan(world: Any) -> None:
    """Write everything that will happen into the timeline."""
    rng, timeline = world.rng, world.timeline
    end_s = rng.uniform(60, 240)
    for number in range(rng.randint(2, 4)):
        world.wanted[f"r{number}"] = True
        timeline.after(rng.choice([0.0, rng.uniform(0, 20)]), world.start, f"r{number}")
    for index in range(rng.randint(3, 8)):
        timeline.at(rng.uniform(0, end_s * 0.7), _create, world, f"e{index}", programs.random_program(rng))
    timeline.at(end_s * 0.7, setattr, world, "created_all", True)
    for _ in range(rng.randint(0, 8)):
        timeline.at(rng.uniform(1, end_s), _happen, world, rng.choice(world.fault_kinds))
    timeline.at(end_s, world.heal)


def _create(world: Any, name: str, program: programs.Program) -> None:
    """A client creates an Execution, in one of the ways in which that is done."""
    rng = world.rng
    function = LIMITED if rng.random() < 0.15 else FUNCTION
    mutex = rng.choice(["m0", "m1"]) if rng.random() < 0.25 else ""
    found = {labels.WORKER_GROUP: world.GROUP, labels.FUNCTION: function}
    chance = rng.random()
    if chance < 0.1:
        found = {}  # applied by hand
    elif chance < 0.2 and function == FUNCTION and not mutex:
        found[labels.SHARD] = rng.choice(["r0", "r1", "nobody"])
    world.create(name, program, found, function=function, mutex=mutex)


def calm(world: Any) -> None:
    """Undo what lasts."""
    world.network.weather = Weather()
    for process in list(world.network.cut):
        world.network.heal(process)
    for process in list(world.processes):
        if process.loop.is_frozen:
            process.thaw()


def _happen(world: Any, fault: str) -> None:
    if world.is_healed:
        return
    world.counts[fault] += 1
    world.say(f"fault: {fault}")
    _ACTIONS[fault](world)


def _some(world: Any) -> Any:
    """Return a replica, mostly the one that leads: None if none runs."""
    lease = world.server.objects["leases"].get(f"kontinue-leader.{world.GROUP}")
    leader = world.replica(lease["spec"].get("holderIdentity", "")) if lease else None
    if leader is not None and world.rng.random() < 0.4:
        return leader
    return world.rng.choice(world.processes) if world.processes else None


def _duration_s(world: Any) -> float:
    lasts_s: float = world.times.duration_s
    rng = world.rng
    chosen: float = rng.choice([rng.uniform(0.1, 5), rng.uniform(0.5, 1.5) * lasts_s, rng.uniform(0.8, 3) * lasts_s])
    return chosen


def _kill(world: Any) -> None:
    process = _some(world)
    if process is not None:
        world.say(f"{process} is killed")
        process.kill()


def _freeze(world: Any, *, machine_sleeps: bool = False) -> None:
    process = _some(world)
    if process is not None:
        duration_s = _duration_s(world)
        world.say(f"{process} is frozen for {duration_s:.1f} s{' with its machine' if machine_sleeps else ''}")
        process.freeze(duration_s, machine_sleeps=machine_sleeps)


def _sleep(world: Any) -> None:
    _freeze(world, machine_sleeps=True)


def _terminate(world: Any) -> None:
    process = _some(world)
    if process is not None:
        _stop(world, process)


def _stop(world: Any, process: Any) -> None:
    world.say(f"{process} is told to stop")
    process.terminate()
    world.timeline.after(30.0, process.kill)


def _cut(world: Any) -> None:
    process = _some(world)
    if process is not None and process not in world.network.cut:
        duration_s = _duration_s(world)
        world.say(f"{process} is cut off for {duration_s:.1f} s")
        world.network.cut[process] = world.rng.random() < 0.3
        world.timeline.after(duration_s, world.network.heal, process)


def _weather(world: Any, duration_s: float, **changes: Any) -> None:
    """Change the weather for a while; whoever changes it last wins."""
    weather = dataclasses.replace(world.network.weather, **changes)
    world.network.weather = weather
    world.say(f"{weather} for {duration_s:.1f} s")
    world.timeline.after(duration_s, _clear, world, weather)


def _clear(world: Any, weather: Weather) -> None:
    if world.network.weather is weather:
        world.network.weather = Weather()


def _rain(world: Any) -> None:
    uniform = world.rng.uniform
    _weather(
        world,
        uniform(5, 60),
        lost_answers=uniform(0, 0.3),
        lost_requests=uniform(0, 0.2),
        late=uniform(0, 0.1),
        failing=uniform(0, 0.1),
        slow_s=world.rng.choice([0.002, 0.05, 1.0]),
        watch_lag_s=world.rng.choice([0.005, 0.5, 5.0]),
    )


def _busy(world: Any) -> None:
    _weather(world, world.rng.uniform(5, 45), busy=world.rng.uniform(0.3, 1.0))


def _restart_server(world: Any) -> None:
    _weather(world, _duration_s(world), is_down=True)
    for stream in world.network.streams():
        world.network.end(stream, ConnectionResetError("the server stopped"))
    if world.rng.random() < 0.5:
        world.server.compact()


def _stall(world: Any) -> None:
    """What one replica watches comes late."""
    process = _some(world)
    if process is None:
        return
    for stream in world.network.streams(process):
        if world.rng.random() < 0.6:
            stream.free_at_s = max(stream.free_at_s, world.timeline.now_s + world.rng.uniform(1, 60))


def _break_watches(world: Any) -> None:
    for stream in world.network.streams():
        if world.rng.random() < 0.7:
            how = world.rng.choice([b"", ConnectionResetError("cut")])
            world.network.end(stream, how)


def _compact(world: Any) -> None:
    _break_watches(world)
    world.server.compact()


def _conflicts(world: Any) -> None:
    """Somebody annotates objects, many times a second."""
    for _ in range(world.rng.randint(20, 150)):
        plural = world.rng.choice(["executions", "executions", "leases"])
        world.timeline.after(world.rng.uniform(0, 10), world.annotate, plural)


def _crash_runner(world: Any) -> None:
    process = _some(world)
    if process is not None and process.pool is not None:
        process.pool.crash_one()


def _evict(world: Any) -> None:
    for process in world.processes:
        if process.pool is not None:
            process.pool.evict_one()


def _scale_up(world: Any) -> None:
    shard = f"r{len(world.wanted)}"
    world.wanted[shard] = True
    world.start(shard)


def _scale_down(world: Any) -> None:
    shards = [shard for shard, is_wanted in world.wanted.items() if is_wanted]
    if len(shards) > 1:
        world.wanted[shards[-1]] = False
        process = world.replica(shards[-1])
        if process is not None:
            _stop(world, process)


def _twice(world: Any) -> None:
    """A second replica of the same id, as after a pod was deleted by force."""
    process = _some(world)
    if process is not None:
        world.start(process.shard, twice=True)


def _switch(world: Any) -> None:
    """From replicas with ``--sharding`` to replicas without, or back, one after the other."""
    world.is_sharded = not world.is_sharded
    _roll(world)


def _new_build(world: Any) -> None:
    """A rolling update: for a while there are two builds."""
    world.builds += 1
    _roll(world)


def _roll(world: Any) -> None:
    at_s = 0.0
    for process in list(world.processes):
        world.timeline.after(at_s, _stop, world, process)
        at_s += world.rng.uniform(0, 15)


def _cancel(world: Any) -> None:
    names = list(world.server.objects["executions"])
    if names:
        world.cancel(world.rng.choice(names))


_ACTIONS = {
    "kill": _kill,
    "freeze": _freeze,
    "sleep": _sleep,
    "terminate": _terminate,
    "cut": _cut,
    "rain": _rain,
    "busy": _busy,
    "restart_server": _restart_server,
    "stall": _stall,
    "break_watches": _break_watches,
    "compact": _compact,
    "conflicts": _conflicts,
    "crash_runner": _crash_runner,
    "evict": _evict,
    "scale_up": _scale_up,
    "scale_down": _scale_down,
    "twice": _twice,
    "cancel": _cancel,
    "switch": _switch,
    "new_build": _new_build,
}
