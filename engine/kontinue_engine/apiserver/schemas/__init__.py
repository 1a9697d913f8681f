"""Internal. Judging objects by a schema: pruning, defaults, validation, and the rules that are written in CEL."""
