"""What options of tasks are called in other libraries, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable

FOREIGN_OPTIONS = {
    "num_returns": "write outputs=..., the number of values that it returns",
    "nout": "write outputs=..., the number of values that it returns",
    "num_cpus": "write cpus=...",
    "num_gpus": "write gpus=...",
    "pure": "write cache=True: equal calls are computed once, also by later runs",
    "cache_key_fn": "write cache=True, with version=... and ignore=... for what counts",
    "cache_expiration": "write expires=..., in seconds, beside cache=True",
    "retry_backoff": "write backoff=..., the seconds before the first retry, which double, "
    "max_backoff=... and jitter=...",
    "retry_delay_seconds": "write backoff=..., the seconds before the first retry, which double",
    "retry_exceptions": "write retry_on=..., a type of exception, several, or a function",
    "autoretry_for": "write retry_on=..., a type of exception, several, or a function",
    "max_calls": "leave it out: a process that is short of memory is replaced by itself",
    "executors": "write partition=...",
    "executor": "write partition=...",
    "queue": "write partition=...",
    "partition_id": "write partition=...",
    "workers": "write partition=..., or cpus=..., memory=... and gpus=... for what it needs",
    "time_limit": "write timeout=..., the seconds of one attempt",
    "soft_time_limit": "write timeout=..., the seconds of one attempt",
    "timeout_seconds": "write timeout=..., the seconds of one attempt",
    "max_duration": "write timeout=..., the seconds of one attempt",
    "chunksize": "write batch_size=...",
    "deps": "write requirements=..., what has to be installed where it runs",
    "runtime_env": "write requirements=..., and env=... for variables",
    "resources": "write cpus=..., memory=... and gpus=..., what a call needs",
    "pip": "write requirements=..., what has to be installed where it runs",
    "packages": "write requirements=..., what has to be installed where it runs",
    "conda": "write requirements=..., what has to be installed where it runs",
    "env_vars": "write env=..., the variables of its process",
    "environment": "write env=..., the variables of its process",
    "concurrency": "write limits={name: count}: at most so many calls run at once",
    "concurrency_limit": "write limits={name: count}: at most so many calls run at once",
    "max_concurrency": "write limits={name: count}: at most so many calls run at once",
    "rate_limit": "write limits={name: count}: at most so many calls run at once",
    "tags": "write limits={name: count}, or options={key: text} for what ArmoniK is told",
    "scheduling_strategy": "write partition=..., or leave it out: a call runs where there is room",
    "retry": "write retries=..., how often it is tried again",
    "num_retries": "write retries=...",
    "tries": "write retries=...",
    "cache_policy": "write cache=True, with version=... and ignore=... for what counts",
    "persist_result": "write keep=True, or cache=True for later runs",
    "n_jobs": "leave it out: Client(workers=...) says how many run at once",
    "allow_other_workers": "leave it out: a task runs wherever its partition has room",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the known one that is most like it, or all."""
    import difflib

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
