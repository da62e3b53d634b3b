"""The kinds of nodes: how each is planned, and what that reads."""
