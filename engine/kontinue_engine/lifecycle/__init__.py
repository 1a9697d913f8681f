"""Internal. Rules of an Execution's life: pure decisions, no I/O and no clock.

``observed`` (frozen facts) goes into ``decide.decide``, a ``plan`` comes out; ``controllers.execution`` applies it.
"""
