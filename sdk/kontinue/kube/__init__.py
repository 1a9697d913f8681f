"""Access to the Kubernetes API: where the server is, requests as values, watches, and the transport that sends."""
