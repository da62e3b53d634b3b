"""gRPC-Web: the engine's services for browsers, over HTTP/1.1."""
