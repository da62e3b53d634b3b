"""Plans: lazy graphs become streams of tasks."""
