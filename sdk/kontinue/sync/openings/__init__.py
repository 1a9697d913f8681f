"""What opens when enough has happened: Barriers and Gates."""
