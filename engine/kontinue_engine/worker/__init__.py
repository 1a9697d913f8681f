"""Internal. One replica of a worker group: the composition root. Run it as ``python -m kontinue_engine.worker``."""
