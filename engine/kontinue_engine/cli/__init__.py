"""Internal. The command line, one module per verb: it parses, calls the client and prints; logic stands beside it."""
