"""Internal. Objects in memory and every write of one: what is kept, changed, judged, committed and deleted."""
