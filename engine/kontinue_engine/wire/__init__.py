"""Internal. Frames between a supervisor and its runners: what they are, their bytes, and which is legal when."""
