"""Records by id in many small dictionaries are the same as in one."""

from __future__ import annotations

import random

import pytest

from armoflow.engine.state.shards import FEW, Shards


@pytest.mark.parametrize("count", [100, 3 * FEW])
def test_they_are_as_a_dictionary(count: int) -> None:
    dice = random.Random(count)
    records, shards = dict[str, int](), Shards[int]()
    for start in range(0, count, 50):
        new = {f"{number}": number for number in range(start, start + 50)}
        records.update(new)
        shards.add(new)
        for key in dice.sample([*new], 3):
            assert shards.get(key) == shards.pop(key) == records.pop(key)
            assert shards.get(key) is shards.pop(key) is None
        shards.add(dict(list(new.items())[-1:]))  # counted once
        records.update(list(new.items())[-1:])
        assert len(shards) == len(records)
    assert sorted(record for part in shards.parts() for record in part) == sorted(records.values())
    assert max(map(len, shards.parts())) <= FEW
    assert dict(shards.take() for _ in range(len(shards))) == records
    assert not shards
    with pytest.raises(KeyError):
        shards.take()
    shards.add({"one": 1})
    assert shards.take() == ("one", 1)
