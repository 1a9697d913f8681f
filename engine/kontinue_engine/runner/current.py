"""Internal. Which activation and step the running code belongs to; set around user code, read by output capture."""

from __future__ import annotations

from contextvars import Context, ContextVar
from typing import Final

current_activation: Final[ContextVar[int]] = ContextVar("kontinue_activation", default=0)
"""Number of the activation; 0 for code that belongs to none."""
current_step_id: Final[ContextVar[str]] = ContextVar("kontinue_step_id", default="")


def clean_context(activation: int, step_id: str = "") -> Context:
    """Return a context without anybody else's variables, for code of this activation."""
    context = Context()
    context.run(current_activation.set, activation)
    if step_id:
        context.run(current_step_id.set, step_id)
    return context
