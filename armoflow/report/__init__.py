"""What a session did, as one page: collected by calls that every ArmoniK serves, and drawn."""
