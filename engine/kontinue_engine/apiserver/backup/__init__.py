"""Internal. All objects as a file, and a data file made of such a file."""
