"""``konductor.io/v1``: the coordination primitives, a module for each kind; how locks and counters change, too."""
