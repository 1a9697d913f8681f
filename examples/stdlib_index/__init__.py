"""Example: index the source of the machine's Python standard library, durably and on all cores. Start with ``app``."""
