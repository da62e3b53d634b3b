"""Processes are killed while a mixed workload runs; afterwards it is counted what that has cost.

``python -m tests.campaign`` (``make campaign``) plays many rounds and prints a table. A round
starts an engine and a client (:mod:`.stage`), whose program (:mod:`.workload`) notes each run of a
task and each value that it sees. At a seeded moment one process is killed with SIGKILL; when the
client has all values, or its session has ended, the notes are compared (:mod:`.checks`).
"""
