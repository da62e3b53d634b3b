"""How functions, values and errors are written and read: bytes in, bytes out.

Nothing is read but the sources of the modules that functions come from.
"""
