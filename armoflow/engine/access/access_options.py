"""The options of ``armoflow up`` that say who may call, and where from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from armoflow.engine.address import Address
from armoflow.errors import OptionError
from armoflow.system.sockets import is_loopback

if TYPE_CHECKING:
    from armoflow.engine.access.tls import ServerTls
    from armoflow.engine.access.users import Users


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who may call.

    Attributes:
        tls: With what the engine proves who it is, and knows its clients; None: without TLS.
        users: Those who may; None: whoever gets through.
        users_file: Where they were read, to be read again; None: they stay as they are.
        anywhere: Listen beyond the loopback, though whoever gets there may do everything.
    """

    tls: ServerTls | None = None
    users: Users | None = None
    users_file: Path | None = None
    anywhere: bool = False

    def check_reach(self, address: Address, option: str) -> None:
        """Refuse an address that strangers reach.

        Args:
            address: Where is listened.
            option: The option that says so, with its value.

        Raises:
            OptionError: If they do.
        """
        if address.path or is_loopback(address.host) or self.anywhere:
            return
        if self.tls is not None and self.tls.client_ca is not None:
            return
        lacking = "--client-ca" if self.tls is not None else "--tls-cert, --tls-key and --client-ca"
        raise OptionError(
            f"refusing to listen at {address.host}:{address.port} ({option}): whoever reaches the "
            "engine can run code on this machine. Listen at 127.0.0.1 or unix:/path and reach it "
            f"through an SSH tunnel; or let in who has a certificate of yours: {lacking}; or, "
            "where every machine that gets there may be trusted, say so with --trust-network"
        )


def add_access_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    parser.add_argument(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        help="speak TLS, with this certificate and those that lead from it to an authority (PEM)",
    )
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="the key of that certificate (PEM)"
    )
    parser.add_argument(
        "--client-ca",
        type=Path,
        metavar="FILE",
        help="let in clients with a certificate of these authorities only (PEM)",
    )
    parser.add_argument(
        "--users",
        nargs="?",
        const="",
        metavar="FILE",
        help="let in users only, known by their certificates, and each for what the roles permit; "
        "a deployment's authentication_datafile (JSON or YAML). Without FILE: the certificates "
        "client.submitter and client.monitoring, with a deployment's roles. SIGHUP has FILE read "
        "again",
    )
    parser.add_argument(
        "--trust-network",
        action="store_true",
        help="listen beyond the loopback without client certificates: whoever gets there can run "
        "code on this machine",
    )


def access_options(arguments: argparse.Namespace) -> AccessOptions:
    """What they say.

    Raises:
        OptionError: If that makes no sense, or a file cannot be used.
    """
    tls = _tls(arguments)
    if arguments.users is None:
        return AccessOptions(tls, anywhere=arguments.trust_network)
    known_by_ingress = arguments.listen.startswith("unix:") and not arguments.web
    if not known_by_ingress and (tls is None or tls.client_ca is None):
        raise OptionError(
            "--users are known by their certificates: give --tls-cert, --tls-key and --client-ca, "
            "too, or listen at unix:/path behind an ingress that asks for them"
        )
    # Imported here: it takes the API's descriptors, which a command line goes without.
    from armoflow.engine.access.users_file import DEFAULT_FILE, read_users

    file = Path(arguments.users).expanduser().absolute() if arguments.users else None
    return AccessOptions(tls, read_users(file or DEFAULT_FILE), file, arguments.trust_network)


def _tls(arguments: argparse.Namespace) -> ServerTls | None:
    certificate, key = arguments.tls_cert, arguments.tls_key
    if certificate is None:
        for option in ("--tls-key", "--client-ca"):
            value = getattr(arguments, option.strip("-").replace("-", "_"))
            if value is not None:
                raise OptionError(f"{option} {value} is for TLS: give --tls-cert, too")
        return None
    if arguments.listen.startswith("unix:") and not arguments.web:
        raise OptionError(
            f"--tls-cert {certificate} is for host:port: a Unix socket ({arguments.listen}) is "
            "open to this user alone, and goes without"
        )
    from armoflow.engine.access.tls import ServerTls

    client_ca = arguments.client_ca
    tls = ServerTls(
        certificate.expanduser(),
        (key or certificate).expanduser(),
        client_ca and client_ca.expanduser(),
    )
    tls.check()
    return tls
