"""Internal. The engine: everything that runs. What each package is for stands in ARCHITECTURE.md."""
