"""Where the engine of a state directory and its clients find each other: sockets of fixed names.

They are in the state directory, or, where its path is too long for a socket, in a directory of
their own beside temporary files, which has a link to the state directory: so an engine that was
killed leaves nothing there that the next start does not sweep away.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from armoflow.errors import EngineError
from armoflow.system.locks import locked
from armoflow.system.sockets import stream_path
from armoflow.system.temporary import SOCKET_PATH_LIMIT, fits

SHARED_SOCKET = "engine.sock"
"""Where the engine listens that the clients of a state directory share."""

CLIENTS_SOCKET = "clients.sock"
"""Where its clients say that they are there."""

_STARTING = "starting"
_STATE = "state"
_BASES = ("/tmp", "/var/tmp")
_NAME = re.compile(r"af-([0-9]+)-[0-9a-f]{16}")


def meeting_place(state: Path) -> Path:
    """The directory of the sockets, the same for all who have this state directory.

    Args:
        state: The state directory, as an absolute path.

    Raises:
        EngineError: If there is no place for it.
    """
    if fits(state, stream_path(SHARED_SOCKET)):
        return state
    name = hashlib.blake2b(os.fsencode(state), digest_size=8).hexdigest()
    for base in _BASES:
        if os.access(base, os.W_OK | os.X_OK):
            place = Path(base) / f"af-{os.geteuid()}-{name}"
            _check_owner(place)
            return place
    raise EngineError(
        f"there is no place for a Unix socket: paths in {state} are longer than "
        f"{SOCKET_PATH_LIMIT} bytes, and /tmp cannot be written to: choose a shorter one"
    )


def _check_owner(place: Path) -> None:
    """Its name can be known beforehand: who else made it could answer in the engine's place.

    Raises:
        EngineError: If it is not this user's alone.
    """
    try:
        found = place.lstat()
    except FileNotFoundError:
        return
    others = stat.S_IMODE(found.st_mode) & 0o077
    if found.st_uid != os.geteuid() or others or not stat.S_ISDIR(found.st_mode):
        raise EngineError(
            f"{place}, where the engine of this state and its clients meet, is not a directory of "
            f"this user alone (uid {found.st_uid}, mode {stat.filemode(found.st_mode)}; this is "
            f"{os.geteuid()}): somebody else could answer there: remove it, or choose a shorter "
            "path for the state, so that its sockets fit into it"
        )


def shared_endpoint(state: Path) -> str:
    """The endpoint of the engine that the clients of a state directory share, if it runs.

    Example:
        >>> shared_endpoint(Path("/srv/state"))
        'unix:/srv/state/engine.sock'
    """
    return f"unix:{meeting_place(state.expanduser().resolve()) / SHARED_SOCKET}"


@contextmanager
def meeting(state: Path) -> Iterator[Path]:
    """Have the meeting place to oneself, for as long as it takes to look who is there, or to go.

    Raises:
        EngineError: If there is no place for it, or its file system has no locks.
        OSError: If it cannot be made.
    """
    with locked(state / _STARTING):
        place = meeting_place(state)
        if place != state:
            place.mkdir(mode=0o700, exist_ok=True)
            _check_owner(place)
            with suppress(FileExistsError):
                (place / _STATE).symlink_to(state)
        yield place


def connect(place: Path) -> socket.socket | None:
    """A connection to the engine that is there, or starts; None if there is none."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(place / CLIENTS_SOCKET))
    except (FileNotFoundError, ConnectionError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def listen(place: Path) -> socket.socket:
    """A socket that clients find, where there is no engine; only in a ``meeting``."""
    path = place / CLIENTS_SOCKET
    path.unlink(missing_ok=True)  # a dead engine's
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def leave(state: Path) -> None:
    """Remove the sockets of an engine that has ended, unless there is another one already."""
    with suppress(OSError, EngineError), meeting(state) as place:
        _remove_dead(place, state)


def sweep_meeting_places(bases: tuple[str, ...] = _BASES) -> None:
    """Remove those of this user whose engines were killed."""
    for base in bases:
        with suppress(OSError), os.scandir(base) as entries:
            for entry in entries:
                named = _NAME.fullmatch(entry.name)
                if named and int(named[1]) == os.geteuid():
                    with suppress(OSError, EngineError):  # it went meanwhile
                        _sweep(Path(entry.path))


def _sweep(place: Path) -> None:
    if place.is_symlink() or place.stat().st_uid != os.geteuid():
        return
    state = (place / _STATE).readlink()
    if not state.is_dir():
        _remove_dead(place, state)
    elif (state / _STARTING).exists():
        with locked(state / _STARTING):
            _remove_dead(place, state)


def _remove_dead(place: Path, state: Path) -> None:
    connection = connect(place)
    if connection is not None:
        connection.close()
    elif place == state:
        (place / CLIENTS_SOCKET).unlink(missing_ok=True)
    else:
        shutil.rmtree(place)
