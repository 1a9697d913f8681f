"""Internal. The server's own background work on objects: garbage collection, namespaces, CustomResourceDefinitions."""
