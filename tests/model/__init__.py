"""Any calls of clients and workers in any order, on an engine that is served and killed."""
