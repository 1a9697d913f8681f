"""Internal. The process ``kontinue coordinator run``: looks after the primitives of ``konductor.io``.

Not to be confused with ``kontinue_engine.coordinator``, the leader's duties within a worker group.
"""
