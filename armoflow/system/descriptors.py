"""The standard descriptors of a process."""

from __future__ import annotations

import os


def open_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, for nothing.

    A daemon may run with them closed. The next socket would get the number of one, what is printed
    would go there, and what starts processes or loops would break on it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        os.set_inheritable(descriptor, True)  # for programs that are started
    os.close(descriptor)
