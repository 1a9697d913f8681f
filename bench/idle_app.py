"""An app with sync functions only: what an idle worker of it costs."""

from __future__ import annotations

from kontinue import App

app = App(group="idle")


@app.function
def trivial(n: int) -> int:
    """Return at once."""
    return n
