"""Durable execution for Python that needs nothing but the Kubernetes API.

What authors of functions import; the client is ``kontinue.client``. Loads msgspec and the standard library only.
"""
