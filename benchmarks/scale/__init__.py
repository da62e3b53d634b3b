"""The scale model: measured stage costs, and what thousands of workers would do."""
