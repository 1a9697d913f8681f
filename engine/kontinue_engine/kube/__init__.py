"""Internal. The engine's side of the Kubernetes API: informer, work queue, Lease, events."""
