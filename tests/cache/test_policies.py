"""Cache policies are checked where they are written."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from armoflow.errors import OptionError
from armoflow.policies import ALL_PARTS, NOT_CACHED, make_policy


def train(table: Any, log_level: str = "", *, depth: int = 3) -> None: ...


def open_ended(**settings: Any) -> None: ...


def test_what_is_said_is_put_together() -> None:
    policy = make_policy("code+ inputs", version=2, ignore=["a", "b"], expires=timedelta(hours=1))
    assert policy.parts == {"code", "inputs"}
    assert (policy.version, policy.ignore, policy.expires) == ("2", {"a", "b"}, 3600.0)
    assert hash(policy) == hash(
        make_policy("inputs + code", version="2", ignore=("b", "a"), expires=3600)
    )


def test_nothing_said_is_not_cached() -> None:
    assert make_policy() == make_policy(False) == NOT_CACHED
    assert not NOT_CACHED.enabled
    assert make_policy(True).parts == NOT_CACHED.keyed == ALL_PARTS


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cache": "inputs + cod"}, "cache='inputs [+] cod' is no policy: did you mean 'code'"),
    ({"cache": ""}, "known: inputs, code, environment"),
    ({"cache": 3}, "cache must be True, False, or a text"),
    ({"version": ""}, "version must be a text or an integer"),
    ({"version": True}, "version must be a text or an integer"),
    ({"ignore": "level"}, r"ignore=\['log_level'\], not 'level'"),
    ({"ignore": [1]}, "ignore must be a list of names"),
    ({"expires": 0}, "expires must be a positive number"),
    ({"expires": "1h"}, "expires must be a positive number"),
    ({"expires": -(10**400)}, "expires must be a positive number"),
    ({"expires": float("nan")}, "expires must be a positive number"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_is_wrong_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_policy(**options)


def test_ignored_arguments_must_exist() -> None:
    policy = make_policy(True, ignore=["log_level", "depht"])
    with pytest.raises(OptionError, match="no argument 'depht' to ignore: did you mean 'depth'"):
        policy.check("train", inspect.signature(train))
    policy.check("open_ended", inspect.signature(open_ended))
    policy.check("without a signature", None)


def test_values_expire() -> None:
    assert not make_policy(True).expired(made=0.0, now=1e12)
    assert not make_policy(True, expires=60).expired(made=0.0, now=59.0)
    assert make_policy(True, expires=60).expired(made=0.0, now=60.0)
    until = datetime.fromtimestamp(1000, timezone.utc)
    assert not make_policy(True, expires=until).expired(made=0.0, now=999.0)
    assert make_policy(True, expires=until).expired(made=999.0, now=1000.0)
