"""Other libraries' work on armoflow: each module is for one of them, and imports it."""
