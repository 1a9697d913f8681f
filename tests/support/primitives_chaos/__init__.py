"""``make chaos-primitives``: clients of all primitives as processes, what kills them, and a ledger that judges."""
