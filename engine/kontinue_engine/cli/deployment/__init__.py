"""Internal. What ``kontinue install`` and ``kontinue manifest`` put into a cluster, as plain data. Pure."""
