"""Typed API objects (``v1alpha1``, ``meta``) and the names that they use (``labels``, ``durations``)."""
