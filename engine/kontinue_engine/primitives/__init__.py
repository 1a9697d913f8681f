"""Internal. Pure: what the coordinator does about each kind of ``konductor.io``, one module per kind."""
