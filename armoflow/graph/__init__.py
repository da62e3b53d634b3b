"""The lazy graph: tasks, delayed values, collections. Pure: nothing here does I/O."""
