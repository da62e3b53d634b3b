"""Which of several places says how an engine is reached: each value on its own.

1. the arguments: ``Client("https://host:5001", certificate_authority=...)``;
2. variables: ``ARMOFLOW_ENDPOINT``, and after it ``AK_ENDPOINT``;
   ``ARMOFLOW_CERTIFICATE_AUTHORITY`` and so on;
3. the file that the variable ``AKCONFIG`` names, which ArmoniK's deployments write;
4. nothing: a private engine.

The client's certificate is one thing, whichever form it has: a PKCS#12 file hides a PEM certificate
and key of a later place, and these hide a PKCS#12 file of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armoflow.errors import OptionError
from armoflow.protocol.settings import (
    CONNECTION_OPTIONS,
    FILES,
    TLS_OPTIONS,
    ConnectionSettings,
    Origin,
    check_option,
    is_secure,
)

FILE_VARIABLE = "AKCONFIG"

ENDPOINT_VARIABLES = ("ARMOFLOW_ENDPOINT", "AK_ENDPOINT")

STATE_VARIABLE = "ARMOFLOW_STATE"
"""Names the state directory of an engine on this machine, where the script names nothing."""

VARIABLES = (
    *ENDPOINT_VARIABLES,
    STATE_VARIABLE,
    FILE_VARIABLE,
    *(f"ARMOFLOW_{name.upper()}" for name in CONNECTION_OPTIONS),
)
"""All variables that say which engine it is, or how it is reached."""

_PEM = ("client_certificate", "client_key")
_P12 = ("client_p12", "client_p12_password")


@dataclass(frozen=True, slots=True)
class _Said:
    value: Any
    origin: Origin


def resolve(
    endpoint: str | None, options: Mapping[str, Any], environment: Mapping[str, str]
) -> ConnectionSettings:
    """Put together what arguments, variables and the file say.

    The file is read where it could say something that the others do not.

    Args:
        endpoint: The argument.
        options: The other arguments (see :class:`~armoflow.protocol.settings.ConnectionOptions`).
        environment: The variables.

    Raises:
        OptionError: If a value is not what it may be, or the file cannot be read.

    Example:
        >>> settings = resolve(None, {}, {"AK_ENDPOINT": "http://cluster:5001"})
        >>> settings.named("endpoint")
        'http://cluster:5001 (AK_ENDPOINT)'
        >>> resolve("http://127.0.0.1:5001", {}, {"AK_ENDPOINT": "http://cluster:5001"}).endpoint
        'http://127.0.0.1:5001'
    """
    places = [_arguments(endpoint, options), _variables(environment)]
    found = _first("endpoint", places)
    file = environment.get(FILE_VARIABLE)
    if file and (found is None or is_secure(found.value)):
        places.append(_file(Path(file).expanduser()))
        found = _first("endpoint", places)
    where = "" if found is None else found.value
    _check_arguments(where, options)
    said = {} if found is None else {"endpoint": found}
    for name in CONNECTION_OPTIONS:
        if name not in TLS_OPTIONS or is_secure(where):
            value = _first(name, _identifying(places) if name in (*_PEM, *_P12) else places)
            if value is not None:
                said[name] = value
    if is_secure(where) and "client_key" in said and "client_certificate" not in said:
        raise OptionError(
            f"client_key is given ({said['client_key'].origin}), but no client_certificate: name "
            "both, as arguments, as variables or in the file"
        )
    return ConnectionSettings(
        **{name: entry.value for name, entry in said.items()},
        origins={name: entry.origin for name, entry in said.items()},
    )


def _first(name: str, places: list[dict[str, _Said]]) -> _Said | None:
    return next((place[name] for place in places if name in place), None)


def _identifying(places: list[dict[str, _Said]]) -> list[dict[str, _Said]]:
    """The places without those forms of the client's certificate that an earlier one hides."""
    first = next((place for place in places if "client_p12" in place or _PEM[0] in place), {})
    if "client_p12" in first and _PEM[0] in first:
        raise OptionError(
            f"the client's certificate is given twice ({first['client_p12'].origin}, "
            f"{first[_PEM[0]].origin}): leave out client_p12, or client_certificate and client_key"
        )
    hidden = _PEM if "client_p12" in first else _P12 if first else ()
    return [{key: said for key, said in place.items() if key not in hidden} for place in places]


def _check_arguments(endpoint: str, options: Mapping[str, Any]) -> None:
    """What is written in the script is meant: it is refused where it would not be used."""
    used = CONNECTION_OPTIONS if is_secure(endpoint) else CONNECTION_OPTIONS[len(TLS_OPTIONS) :]
    for name in options:
        if not endpoint:
            raise OptionError(f"{name} is for an engine at an endpoint, and there is none: name it")
        if name not in used:
            raise OptionError(
                f"{name} is for TLS, and the endpoint {endpoint!r} asks for none: write "
                f"https://host:port, or leave out {name}"
            )


# --- the places -----------------------------------------------------------------------------------


def _arguments(endpoint: str | None, options: Mapping[str, Any]) -> dict[str, _Said]:
    said = {} if endpoint is None else {"endpoint": _Said(endpoint, Origin("argument", "endpoint"))}
    for name, value in options.items():
        origin = Origin("argument", name)
        said[name] = _Said(check_option(name, value, origin), origin)
    return said


def _variables(environment: Mapping[str, str]) -> dict[str, _Said]:
    said = {}
    for variable in ENDPOINT_VARIABLES:
        if "endpoint" not in said and environment.get(variable):
            said["endpoint"] = _Said(environment[variable], Origin("variable", variable))
    for name in CONNECTION_OPTIONS:
        origin = Origin("variable", f"ARMOFLOW_{name.upper()}")
        if value := environment.get(origin.name):
            said[name] = _Said(check_option(name, value, origin), origin)
    return said


def _file(path: Path) -> dict[str, _Said]:
    """What ArmoniK's file says: any of its keys may be empty, null or missing."""
    origin = Origin("file", str(path))
    said = {}
    for name, value in _read(path).items():
        if value in (None, "") or name not in ("endpoint", *CONNECTION_OPTIONS):
            continue
        checked = check_option(name, value, origin)
        # Files that it names without a directory lie beside it.
        said[name] = _Said(path.parent / checked if name in FILES else checked, origin)
    return said


def _read(path: Path) -> Mapping[str, Any]:
    import yaml  # not needed where there is no such file

    remedy = f"mend it, or unset {FILE_VARIABLE}"
    try:
        read = yaml.safe_load(path.read_bytes())
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"the variable {FILE_VARIABLE} names {str(path)!r}, which cannot be read: "
            f"{reason.lower()}; {remedy}"
        ) from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise OptionError(
            f"the file {str(path)!r}, which the variable {FILE_VARIABLE} names, is not YAML: "
            f"{reason}; {remedy}"
        ) from error
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise OptionError(
            f"the file {str(path)!r}, which the variable {FILE_VARIABLE} names, holds no keys such "
            f"as 'endpoint: https://host:5001'; {remedy}"
        )
    return read
