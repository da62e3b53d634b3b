"""What an engineer runs: single parts, and what a task costs stage by stage."""
