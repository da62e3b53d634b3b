"""Users, their roles and certificates: read from the file that a deployment of ArmoniK takes, too.

The form is that of ``authentication.authentication_datafile``: three lists, in JSON or YAML.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from armoflow.engine.access.users import IMPERSONATE, User, Users
from armoflow.errors import OptionError
from armoflow.protocol.permissions import all_permissions

DEFAULT_FILE: Final = Path(__file__).with_name("users.yaml")
"""The roles that every file knows, and the users where no file is named."""

_PREDECESSOR: Final = "Submitter:"
"""Permissions of the service that nobody serves any more: deployments' files still hold them."""

_FORMS: Final[Mapping[str, Mapping[str, bool]]] = {
    "roles_list": {"RoleName": True, "Permissions": True},
    "users_list": {"Username": True, "Roles": True},
    "certificates_list": {"Cn": True, "Username": True, "Fingerprint": False},
}
"""The keys of the entries of each list, and whether they must be there."""


def read_users(path: Path = DEFAULT_FILE) -> Users:
    """Read a file of users.

    Args:
        path: The file.

    Raises:
        OptionError: If it cannot be read, or names what there is not.

    Example:
        >>> users = read_users()
        >>> users.of_certificate("client.monitoring", "ab12").may("Tasks:ListTasks")
        True
    """
    lists = _read_lists(path)
    shipped = _read_lists(DEFAULT_FILE)["roles_list"] if path != DEFAULT_FILE else []
    roles = {role["RoleName"]: role["Permissions"] for role in shipped}
    for role in _once(lists["roles_list"], "RoleName", f"--users {path}: role"):
        roles[role["RoleName"]] = _check_permissions(role, path)
    _check_impersonated(roles, path)
    named = {
        user["Username"]: _make_user(user, roles, path)
        for user in _once(lists["users_list"], "Username", f"--users {path}: user")
    }
    if not named:
        raise OptionError(
            f"--users {path} has no users, so nobody could call: write some to its users_list"
        )
    return Users(named, _read_certificates(lists["certificates_list"], named, path))


class _UniqueKeyLoader(yaml.SafeLoader):
    """Reads YAML, but for mappings with a key twice, of which others drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                mark = node.value[place][0].start_mark
                raise yaml.MarkedYAMLError(problem=f"{key!r} is there twice", problem_mark=mark)
        return super().construct_mapping(node, deep)


def _read_lists(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of a file; one that is missing is empty."""
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, _UniqueKeyLoader)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"--users {path} cannot be read: {reason.lower()}") from error
    except (yaml.YAMLError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise OptionError(f"--users {path} is neither YAML nor JSON: {said}") from error
    known = ", ".join(_FORMS)
    if not isinstance(content, dict):
        raise OptionError(f"--users {path} has none of the lists {known}")
    if unknown := content.keys() - _FORMS.keys():
        raise OptionError(
            f"--users {path}: {min(unknown, key=str)!r} is no list of users: write {known}"
        )
    return {name: _check_list(content.get(name) or [], name, path) for name in _FORMS}


def _check_list(entries: Any, name: str, path: Path) -> list[dict[str, Any]]:
    form = _FORMS[name]
    keys = ", ".join(form)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise OptionError(f"--users {path}: {name} must be a list of entries with {keys}")
    for entry in entries:
        missing = [key for key, needed in form.items() if needed and key not in entry]
        if missing or entry.keys() - form.keys():
            raise OptionError(
                f"--users {path}: {entry!r} in {name} must have {keys}, and nothing else"
            )
        for key in form.keys() & entry.keys():
            _check_value(entry[key], f"--users {path}: {key} in {name}", key)
    return entries


def _check_value(value: Any, what: str, key: str) -> None:
    if key in ("Permissions", "Roles"):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise OptionError(f"{what} must be a list of names, not {value!r}")
    elif not isinstance(value, str) and (key != "Fingerprint" or value is not None):
        raise OptionError(f"{what} must be text, not {value!r}: put it in quotes")


def _once(entries: Iterable[dict[str, Any]], key: str, what: str) -> Iterable[dict[str, Any]]:
    """The entries, of which no two have the same name."""
    seen: set[str] = set()
    for entry in entries:
        name = entry[key]
        if not name:
            raise OptionError(f"{what} {name!r} has no name: write one")
        if name in seen:
            raise OptionError(f"{what} {name!r} is there twice: leave one of them out")
        seen.add(name)
        yield entry


def _check_permissions(role: Mapping[str, Any], path: Path) -> list[str]:
    permissions: list[str] = role["Permissions"]
    known = all_permissions()
    for permission in permissions:
        # A third part, which says on what, is not looked at by ArmoniK either.
        name = ":".join(permission.split(":")[:2])
        if name not in known and name != IMPERSONATE and not name.startswith(_PREDECESSOR):
            raise OptionError(
                f"--users {path}: role {role['RoleName']!r} has the unknown permission "
                f"{permission!r}{_near(name, known)}: write Service:Method, such as "
                "Sessions:CreateSession, or General:Impersonate:ROLE"
            )
    return permissions


def _check_impersonated(roles: Mapping[str, list[str]], path: Path) -> None:
    """Refuse the permission to call as users of a role that there is not."""
    for name, permissions in roles.items():
        for permission in permissions:
            role = permission.removeprefix(f"{IMPERSONATE}:")
            if permission.startswith(IMPERSONATE) and role not in roles:
                raise OptionError(
                    f"--users {path}: role {name!r} has the permission {permission!r}, which names "
                    f"no role{_near(role, roles)}: write {IMPERSONATE}:ROLE, with one of "
                    f"{', '.join(sorted(roles))}"
                )


def _make_user(entry: Mapping[str, Any], roles: Mapping[str, list[str]], path: Path) -> User:
    for role in entry["Roles"]:
        if role not in roles:
            raise OptionError(
                f"--users {path}: user {entry['Username']!r} has the unknown role {role!r}"
                f"{_near(role, roles)}: add it to roles_list, or write one of "
                f"{', '.join(sorted(roles))}"
            )
    permissions = {each for role in entry["Roles"] for each in roles[role]}
    permissions |= {
        ":".join(each.split(":")[:2]) for each in permissions if not each.startswith(IMPERSONATE)
    }
    return User(entry["Username"], tuple(entry["Roles"]), frozenset(permissions))


def _read_certificates(
    entries: Iterable[Mapping[str, Any]], named: Mapping[str, User], path: Path
) -> dict[tuple[str, str], str]:
    certificates: dict[tuple[str, str], str] = {}
    for entry in entries:
        common_name, name = entry["Cn"], entry["Username"]
        if not common_name:
            raise OptionError(
                f"--users {path}: a certificate of {name!r} has no common name: write its Cn"
            )
        fingerprint = (entry.get("Fingerprint") or "").replace(":", "").lower()
        if fingerprint and not re.fullmatch("[0-9a-f]{40}", fingerprint):
            raise OptionError(
                f"--users {path}: the fingerprint {entry['Fingerprint']!r} of {common_name!r} is "
                "no SHA-1: `openssl x509 -in FILE -noout -fingerprint -sha1` prints it"
            )
        if name not in named:
            raise OptionError(
                f"--users {path}: the certificate of {common_name!r} is of the unknown user "
                f"{name!r}{_near(name, named)}: add it to users_list"
            )
        if certificates.setdefault((common_name, fingerprint), name) != name:
            raise OptionError(
                f"--users {path}: the certificate of {common_name!r} is of two users, "
                f"{certificates[common_name, fingerprint]!r} and {name!r}: leave one of them out"
            )
    return certificates


def _near(name: str, known: Collection[str]) -> str:
    """What was probably meant."""
    near = difflib.get_close_matches(name, known, 1)
    return f" (is {near[0]!r} meant?)" if near else ""
