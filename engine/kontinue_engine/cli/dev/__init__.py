"""Internal. ``kontinue dev``: a parent that runs API server and worker as processes and restarts either."""
