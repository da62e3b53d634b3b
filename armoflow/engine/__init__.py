"""The embedded engine: ArmoniK on one machine."""
