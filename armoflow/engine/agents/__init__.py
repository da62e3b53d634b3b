"""Agents: each drives workers of one kind."""
