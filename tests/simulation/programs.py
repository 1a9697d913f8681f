"""User code: what Executions do, as data in their arguments, and what their memo must hold in the end.

An operation is ``{"step": seconds}``, ``{"sleep": seconds}``, ``{"fails": attempts, "blames": bool}`` (it fails so
often, because of the last record perhaps) or ``{"children": [child, ...]}``, a child
``{"leaves": bool, "mutex": name, "do": [operation, ...]}``. Mutexes of children are others than those of roots, and a
child with one has no descendant with one: no program can block itself or another for ever.
"""

from __future__ import annotations

import random
from typing import Any

Program = list[dict[str, Any]]
MAX_FAILURES = 3


def random_program(rng: random.Random, *, depth: int = 0, may_lock: bool = True) -> Program:
    """Return a small program; those of children are smaller."""
    return [_operation(rng, depth, may_lock) for _ in range(rng.randint(0 if depth else 1, 3))]


def _operation(rng: random.Random, depth: int, may_lock: bool) -> dict[str, Any]:
    kind = rng.random()
    if kind < 0.3 and depth < 2:
        number = rng.randint(1, 3 - depth)
        return {"children": [_child(rng, depth, may_lock) for _ in range(number)]}
    if kind < 0.5:
        return {"sleep": round(rng.choice([rng.uniform(0.1, 4), rng.uniform(6, 90)]), 1)}
    return {"step": round(rng.choice([0.01, 0.1, rng.uniform(0, 3), rng.uniform(5, 40)]), 2)}


def _child(rng: random.Random, depth: int, may_lock: bool) -> dict[str, Any]:
    mutex = "of-children" if may_lock and rng.random() < 0.1 else ""
    program = random_program(rng, depth=depth + 1, may_lock=may_lock and not mutex)
    return {"leaves": rng.random() < 0.6, "mutex": mutex, "do": program}


def with_failures(program: Program, rng: random.Random) -> Program:
    """Return the program, sometimes with a place where the first attempts fail."""
    if rng.random() > 0.3:
        return program
    failing = {"fails": rng.randint(1, MAX_FAILURES), "blames": rng.random() < 0.5}
    place = rng.randint(0, len(program))
    return [*program[:place], failing, *program[place:]]


def failures_of(program: Program) -> int:
    """Return how many of its attempts fail."""
    return max((operation.get("fails", 0) for operation in program), default=0)


def step_ids(program: Program) -> list[str]:
    """Return the ids of all its records, in the order in which they are made."""
    ids: list[str] = []
    for number, operation in enumerate(program):
        if "fails" in operation:
            continue
        children = operation.get("children")
        ids += [str(number)] if children is None else [f"{number}.{child}" for child in range(len(children))]
    return ids


def children_of(program: Program, name: str) -> dict[str, Program]:
    """Return the programs of the children of the Execution of that name, by their names."""
    return {
        child_name(name, f"{number}.{index}"): child["do"]
        for number, operation in enumerate(program)
        for index, child in enumerate(operation.get("children", []))
    }


def child_name(parent: str, step: str) -> str:
    return f"{parent}-{step.replace('.', '-')}"


def result_of(program: Program) -> int:
    """Return what it returns if nothing of it is canceled: the number of its steps, children's included."""
    total = 0
    for operation in program:
        children = operation.get("children", [])
        total += 1 + sum(result_of(child["do"]) for child in children)
    return total
