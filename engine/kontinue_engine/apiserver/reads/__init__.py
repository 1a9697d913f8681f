"""Internal. Every read: lists, pages, watches, selectors, and the forms in which objects leave the server."""
