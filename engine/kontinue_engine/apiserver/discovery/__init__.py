"""Internal. Answers that are no objects: discovery, OpenAPI, health, metrics."""
