"""The gRPC services of the engine, one servicer a file."""
