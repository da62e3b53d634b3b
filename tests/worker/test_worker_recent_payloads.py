"""What a process is sent once of payloads that several of its tasks share."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from seats import call, output, seat

from armoflow import config
from armoflow.worker.home import Home
from armoflow.worker.recent_payloads import ReceivedPayloads, SentPayloads

PAYLOADS = [bytes([number]) * 3 for number in range(config.BUNDLES_KEPT + 4)]
LARGE = bytes(2 * config.BUNDLE_BYTES + 1)
IN_A_FILE = ["/somewhere", 5]


@given(st.lists(st.sampled_from([*PAYLOADS, LARGE, IN_A_FILE]), max_size=200))
def test_what_is_found_is_what_was_to_be_sent(payloads: list[bytes | list[object]]) -> None:
    sent, received = SentPayloads(), ReceivedPayloads()
    assert [received.find(sent.name(one)) for one in payloads] == payloads


def test_payloads_of_tasks_that_run_in_turns_are_sent_once() -> None:
    sent = SentPayloads()
    turns = PAYLOADS[: config.BUNDLES_KEPT] * 3
    assert sum(isinstance(sent.name(one), bytes) for one in turns) == config.BUNDLES_KEPT


def test_a_payload_that_was_not_needed_for_long_is_sent_again() -> None:
    sent = SentPayloads()
    for one in PAYLOADS:
        sent.name(one)
    assert sent.name(PAYLOADS[0]) is PAYLOADS[0]


def test_neither_large_payloads_nor_those_in_files_are_kept() -> None:
    sent = SentPayloads()
    said = [sent.name(one) for one in (LARGE, IN_A_FILE, LARGE, IN_A_FILE)]
    assert said == [LARGE, IN_A_FILE, LARGE, IN_A_FILE]


def test_a_process_that_others_ran_beside_meanwhile_finds_what_it_is_sent(tmp_path: Path) -> None:
    """Tasks of other environments and devices have processes of their own: it waits meanwhile."""

    async def run() -> list[Any]:
        async with seat(tmp_path) as host:
            works = []
            for name, device in (("a", None), ("b", "1"), ("c", None), ("c", None)):
                home = Home(devices=None if device is None else (device,))
                works.append(host.work(call(str.upper, name), home=home))
                works[-1].payload = next(
                    (one.payload for one in works if one.payload == works[-1].payload),
                    works[-1].payload,
                )
                host.supervisor.send([works[-1]])
                await host.wait_for(works)
            return [output(host.outcomes[work.key]) for work in works]

    assert asyncio.run(run()) == [["A"], ["B"], ["C"], ["C"]]
