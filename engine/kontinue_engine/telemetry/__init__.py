"""Internal. What operators see beside the API: log lines (``logs``)."""
