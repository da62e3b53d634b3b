"""The orchestrator's face: Client, Future."""
