"""One object of any kind: changed by conditional writes, followed by a watch, deleted."""
