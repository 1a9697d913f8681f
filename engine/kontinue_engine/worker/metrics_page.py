"""Internal. What a replica tells Prometheus at ``/metrics``: what ``telemetry.metrics`` has counted, and what runs now.

A replica that has no Lease yet, or stands by, has counted nothing: its page is empty. ``replica`` serves it.
"""

from __future__ import annotations

from collections import Counter

from kontinue_engine.controllers.runtime import Runtime
from kontinue_engine.telemetry.metrics import CONTENT_TYPE
from kontinue_engine.worker.pages import Page, Pages


class MetricsPage:
    """The page; ``runtime`` is set once there is something to tell."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None

    @property
    def pages(self) -> Pages:
        """Return it by its path."""
        return {"/metrics": self._render}

    def _render(self) -> Page:
        if self.runtime is None:
            return Page(text="", content_type=CONTENT_TYPE)
        metrics = self.runtime.metrics
        running = Counter(metrics.label_of(entry.spec.function) for entry in self.runtime.entries if entry.is_active)
        return Page(text=metrics.render(running), content_type=CONTENT_TYPE)
