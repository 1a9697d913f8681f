"""Internal. Server-side apply: who set which field, and what follows when somebody applies again. Pure, no I/O."""
