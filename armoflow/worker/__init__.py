"""The processes that run tasks, and their owners."""
