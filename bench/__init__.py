"""Benchmarks: ``make bench`` prints a table and writes ``.bench/latest.json``."""
