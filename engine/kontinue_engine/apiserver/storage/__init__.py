"""Internal. What lasts: the Protocol of a store, SQLite behind it, backup and restore."""
