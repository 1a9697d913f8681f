"""WaitGroups: counting, and waiting for the counter to be 0."""
