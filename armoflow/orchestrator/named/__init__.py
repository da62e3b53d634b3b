"""Named runs: what is needed to go on with a graph that another client began."""
