"""Running one engine task again, here: what it was given, and the run itself."""
