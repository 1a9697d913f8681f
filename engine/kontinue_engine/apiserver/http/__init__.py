"""Internal. From bytes on a socket to what a request asks for: the protocol, who asks, options, bodies."""
