"""What can be asked of any ArmoniK engine through its public API, and what the real one answered.

Each ``probe_*`` function of a client is a question, its docstring says which, and what it returns
is the answer in a normal form: ids have names, dates and durations are set or unset. ``answers``
were recorded with ArmoniK.Core 0.40.1 (PostgreSQL, NATS JetStream, Redis), three times: ``?any``
stands where the recordings differed, keys that begin with ``~`` are shown and never compared.
They are kept as they were asked, so the linters pass them over.
"""
