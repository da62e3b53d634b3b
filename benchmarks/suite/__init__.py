"""What a user runs: workloads on armoflow and on what else there is, timed and compared."""
