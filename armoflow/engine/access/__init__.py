"""Who may call an engine: TLS, users, and what they are permitted, in ArmoniK's names."""
