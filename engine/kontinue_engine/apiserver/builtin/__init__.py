"""Internal. Kubernetes' own kinds, as far as they are stored: their types, defaults, rules, columns and wire form."""
