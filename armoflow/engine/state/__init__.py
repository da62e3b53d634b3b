"""The engine's state machine: commands in, changes out. No clock, no input or output."""

from armoflow.engine.state.machine import State

__all__ = ["State"]
