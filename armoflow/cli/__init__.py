"""The `armoflow` command."""

from armoflow.system.first_process import die_of_signals

die_of_signals()  # what is imported from here on takes a while
