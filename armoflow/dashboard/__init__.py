"""A live page about an engine's sessions: a client of it, by calls that every ArmoniK serves."""
