"""An engine that does on purpose what ArmoniK.Core 0.40.1 did on PostgreSQL, NATS and Redis.

``python -m tests.realistic --listen unix:/path --state DIRECTORY --seed 7`` serves the standard
calls only. It is the embedded engine with other manners: tasks end in two steps (:mod:`.core`), and
callers see what the real one showed them (:mod:`.manners`). What happens when is decided by the
seed and by chance (:mod:`.conduct`); all time passes on a clock of its own.

With ``--costed`` nothing goes wrong but rows that come late, and calls and tasks take the time that
they took there: so a benchmark counts engine tasks and calls as a real cluster does.
"""
