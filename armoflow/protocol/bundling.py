"""Which tasks of a batch share a payload, and what is created and sent for them.

An engine that says so deletes a payload only when all tasks that name it have completed. There
tasks that stand side by side and are given little have one between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from armoflow import config
from armoflow.codec.bundle import pack_bundle
from armoflow.codec.container import Buffer
from armoflow.protocol.frames import (
    CACHED_PREFIX,
    KEPT_PREFIX,
    NAME_LIMIT,
    OUTPUT_PREFIX,
    PAYLOAD_PREFIX,
    WANTED_PREFIX,
)

if TYPE_CHECKING:
    from armoflow.protocol.submission import Submission


_ID_BYTES = 40
"""Bytes that the id of an input takes in a payload, about."""


def _prefix(task: Submission) -> str:
    if task.cached:
        return CACHED_PREFIX
    if task.keep:
        return KEPT_PREFIX
    return WANTED_PREFIX if task.wanted else OUTPUT_PREFIX


def results_of(bundles: Iterable[Sequence[Submission]]) -> list[tuple[str, str]]:
    """The results to create, with their names."""
    results: list[tuple[str, str]] = []
    for bundle in bundles:
        for task in bundle:
            prefix = _prefix(task)
            results += [(handle.id, prefix + handle.name[:NAME_LIMIT]) for handle in task.outputs]
        first = bundle[0]
        if not first.stored:
            results.append((first.payload_id, name_of_payload(bundle)))
    return results


def name_of_payload(bundle: Sequence[Submission]) -> str:
    """What the payload of tasks is called: after all of them."""
    name = bundle[0].name
    if len(bundle) > 1:
        name = ", ".join(dict.fromkeys([task.name for task in bundle]))
    return PAYLOAD_PREFIX + name[:NAME_LIMIT]


def bundled(submissions: Iterable[Submission]) -> Iterator[list[Submission]]:
    """Tasks that share a payload: those that stand side by side and are given little."""
    bundle: list[Submission] = []
    size = 0
    for task in submissions:
        weight = task.size + _ID_BYTES * len(task.inputs)
        fits = not task.payload_id and bool(task.outputs) and weight <= config.BUNDLE_BYTES
        full = len(bundle) >= config.BUNDLE_TASKS or size + weight > config.BUNDLE_BYTES
        if bundle and (full or not fits):
            yield bundle
            bundle, size = [], 0
        if fits:
            bundle.append(task)
            size += weight
        else:
            yield [task]
    if bundle:
        yield bundle


def lay_out(
    bundles: Iterable[Sequence[Submission]],
) -> tuple[list[tuple[str, bytes]], list[tuple[str, list[Buffer]]]]:
    """Payloads that go into the frame, and large ones."""
    payloads, large = [], []
    for tasks in bundles:
        first = tasks[0]
        if first.stored:
            continue
        parts = lay_out_bundle(tasks)
        if sum(map(len, parts)) <= config.BATCH_BYTES:
            payloads.append((first.payload_id, parts[0] if len(parts) == 1 else b"".join(parts)))
        else:
            large.append((first.payload_id, parts))
    return payloads, large  # type: ignore[return-value]  # a lone part is bytes


def lay_out_bundle(bundle: Sequence[Submission]) -> list[Buffer]:
    """The payload of tasks; called once all results have their ids."""
    if len(bundle) == 1:
        return bundle[0].pack()
    return pack_bundle([(task.outputs[0].id, task.fill()) for task in bundle])
