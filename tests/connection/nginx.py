"""Debian's nginx in front of an engine, set up as ArmoniK's ingress is."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.connection.certificates import Authority, Identity
from tests.integration.engines import STOCK, Up, up

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/bin")

CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    log_format calls '$request_length $request';
    access_log {directory}/access.log calls;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $ssl_client_s_dn $ssl_client_s_dn_cn {{
        default "";
        ~CN=(?<CN>[^,/]+) $CN;
    }}
    map $ssl_client_s_dn_cn $known_user {{
        default 0;
        "" {anonymous};
        ~^client 1;
    }}
    map "$ssl_client_s_dn_cn $uri" $permitted {{
        default 1;
        ~^client.monitoring.*/(CreateSession|SubmitTasks)$ 0;
        ~^client.blind.*/(GetEvents|ListVersions|GetServiceConfiguration)$ 0;
    }}
    upstream engine {{ server unix:{engine}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port} {listen};
        {tls}
        location ~* ^/armonik\\. {{
            {headers}
            if ($known_user = 0) {{ return 401; }}
            if ($permitted = 0) {{ return 403; }}
            grpc_pass grpc://engine;
            client_max_body_size 0;
            grpc_read_timeout 30d;
            grpc_send_timeout 30d;
        }}
    }}
}}
"""

HEADERS = """
            grpc_set_header X-Certificate-Client-CN $ssl_client_s_dn_cn;
            grpc_set_header X-Certificate-Client-Fingerprint $ssl_client_fingerprint;
"""


class Ingress:
    """An nginx that passes calls on.

    Args:
        directory: For its files.
        engine: The engine's socket.
        server: What it proves to be; None: it speaks plain HTTP/2.
        clients: Certificate of the authority whose clients it lets in; None: it asks for none.
        anonymous: The control plane serves callers without a certificate, too.
    """

    def __init__(
        self,
        directory: Path,
        engine: str,
        server: Identity | None = None,
        clients: Path | None = None,
        *,
        anonymous: bool = True,
    ) -> None:
        if NGINX is None:
            pytest.skip("nginx is not installed: `apt-get install nginx-light`")
        self._directory = directory
        self.port = _free_port()
        tls = headers = ""
        if server is not None:
            tls = f"ssl_certificate {server.certificate}; ssl_certificate_key {server.key};"
            tls += "ssl_protocols TLSv1.2 TLSv1.3;"
        if clients is not None:
            tls += f"ssl_verify_client on; ssl_client_certificate {clients};"
            headers = HEADERS
        (directory / "nginx.conf").write_text(
            CONFIGURATION.format(
                directory=directory,
                engine=engine.removeprefix("unix:"),
                port=self.port,
                listen="ssl http2" if server is not None else "http2",
                tls=tls,
                anonymous=int(anonymous),
                headers=headers,
            )
        )
        self._process = subprocess.Popen(
            [NGINX, "-c", str(directory / "nginx.conf"), "-p", str(directory)],
            stderr=(directory / "stderr").open("wb"),
        )
        self._wait_until_it_listens()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def called(self) -> list[tuple[int, str]]:
        """What it has answered: the bytes of the request, and its path."""
        lines = (self._directory / "access.log").read_text().splitlines()
        return [(int(size), path) for size, _, path, _ in map(str.split, lines)]

    def _wait_until_it_listens(self) -> None:
        while self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError((self._directory / "stderr").read_text())


@contextmanager
def ingress(directory: Path, engine: str, *arguments: Any, **options: Any) -> Iterator[Ingress]:
    """An ingress for the length of a block."""
    started = Ingress(directory, engine, *arguments, **options)
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def up_behind_mtls(directory: Path) -> Iterator[Up]:
    """An engine like a stock cluster, which is reached as the deployments with mTLS are.

    What proves the client is named by variables, for this process and those that it starts.
    """
    authority = Authority(directory)
    server = authority.identity("ingress", "127.0.0.1")
    submitter = authority.identity("client.submitter")
    variables = {
        "ARMOFLOW_CERTIFICATE_AUTHORITY": authority.certificate,
        "ARMOFLOW_CLIENT_CERTIFICATE": submitter.certificate,
        "ARMOFLOW_CLIENT_KEY": submitter.key,
    }
    with (
        up(directory, *STOCK) as engine,
        ingress(directory, engine.endpoint, server, authority.certificate) as before,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in variables.items():
            patch.setenv(name, str(value))
        engine.endpoint = f"https://127.0.0.1:{before.port}"
        yield engine


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
