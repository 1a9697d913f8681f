"""Internal. Recorded histories replayed against other code, for `kontinue replay` and tests: nothing is started."""
