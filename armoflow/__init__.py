"""Python workflows on ArmoniK, from a laptop to a cluster."""
