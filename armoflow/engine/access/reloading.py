"""Another version of the file of users, read while the engine runs."""

from __future__ import annotations

import logging
from pathlib import Path

from armoflow.engine.access.authentication import Authentication
from armoflow.engine.access.users import Users
from armoflow.engine.access.users_file import read_users
from armoflow.errors import OptionError

logger = logging.getLogger(__name__)


def reload_users(authentication: Authentication, file: Path) -> None:
    """Know who calls from now on by the file as it is now; one that makes no sense changes nothing.

    Args:
        authentication: Knows who calls.
        file: The file.
    """
    try:
        users = read_users(file)
    except OptionError as error:
        logger.error("who may call stays as it was: %s", error)
        return
    before = authentication.users
    authentication.users = users
    changes = [] if before is None else users_changes(before, users)
    logger.info("--users %s was read again: %s", file, "; ".join(changes) or "nothing has changed")


def users_changes(before: Users, after: Users) -> list[str]:
    """What has changed between two versions, in words.

    Example:
        >>> from armoflow.engine.access.users import User
        >>> old = Users({"a": User("a", ("Chief",), frozenset())}, {("cn", ""): "a"})
        >>> new = Users({"b": User("b", (), frozenset())}, {("cn", ""): "b"})
        >>> users_changes(old, new)
        ["added: 'b'", "removed: 'a'", "of another user: the certificate of 'cn'"]
    """
    kept = before.named.keys() & after.named.keys()
    changed = {name for name in kept if before.named[name] != after.named[name]}
    found = [
        _list("added", after.named.keys() - kept),
        _list("removed", before.named.keys() - kept),
        _list("may something else", changed),
    ]
    old, new = before.certificates, after.certificates
    for what, keys in (
        ("known now", new.keys() - old.keys()),
        ("known no more", old.keys() - new.keys()),
        ("of another user", {key for key in old.keys() & new.keys() if old[key] != new[key]}),
    ):
        names = [f"the certificate of {name!r}{mark and f' ({mark})'}" for name, mark in keys]
        found.append(f"{what}: {', '.join(sorted(names))}" if names else "")
    return [each for each in found if each]


def _list(what: str, names: set[str]) -> str:
    return f"{what}: {', '.join(map(repr, sorted(names)))}" if names else ""
