"""The `armoflow` command."""
