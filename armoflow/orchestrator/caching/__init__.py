"""The cache: values that an engine has already become results of a new session, unmoved."""
