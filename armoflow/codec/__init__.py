"""How functions, values and errors are written and read. Pure: bytes in, bytes out."""
