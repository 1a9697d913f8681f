"""Deterministic replay, sans-io: step ids, memo records, and the journal that puts them in order."""
