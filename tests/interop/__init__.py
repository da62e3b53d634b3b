"""Other projects' own tests, run on armoflow."""
