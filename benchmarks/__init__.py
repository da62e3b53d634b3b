"""Benchmarks of armoflow beside what a user would pick instead: ``python -m benchmarks``."""
