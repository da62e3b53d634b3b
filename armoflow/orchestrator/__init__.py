"""From a graph to submitted tasks and back to values."""
