"""The primitives for code without an event loop, a module for each kind (ADR 0019)."""
