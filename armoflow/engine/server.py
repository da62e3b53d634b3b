"""Puts the engine's parts together: starts them, drains them, stops them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from armoflow import config
from armoflow.engine.access.access_options import AccessOptions
from armoflow.engine.address import Address, check_free
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.late_calls import LateCalls
from armoflow.engine.meter import Meter
from armoflow.engine.scheduler import Agent
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.stream_socket import StreamSocket
from armoflow.errors import OptionError
from armoflow.system.disk_faults import located
from armoflow.system.sockets import unix_target
from armoflow.system.temporary import TemporaryDirectory
from armoflow.worker.environment import worker_environment

if TYPE_CHECKING:
    from armoflow.engine.access.authentication import Authentication
    from armoflow.engine.exposition import Exposition
    from armoflow.engine.web.web_server import WebServer

logger = logging.getLogger(__name__)

PENDING = 50_000
"""Calls that wait to be begun, of all clients, from which on gRPC drops some."""

CALL_GRACE = 1.0
"""Seconds that calls in flight get to end when the server stops."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a server is started with.

    Attributes:
        address: Where it listens.
        engine: The engine's own options.
        workers: How many workers each partition has, by its id; 0 leaves it to others.
        command: The command of an ArmoniK worker; empty: armoflow's own child processes.
        commands: The same for single partitions, which may have several.
        environment: The variables that workers get.
        data_folders: Where the data of their tasks is laid, by partition; for others it is in the
            engine's own directory.
        devices: The graphics processors that each of these workers sees, by partition.
        channel: How these workers are reached; "auto" finds out.
        extensions: Serve the batch extension beside the standard services.
        discovery: Serve reflection and health, which generic gRPC tools ask for.
        late_calls: Serve gRPC when somebody calls for the first time, not before: for an engine at
            a Unix socket with the extension, whose client needs none.
        grace: Seconds that running tasks get to end when the server stops; none is begun then.
        log_calls: A file that gets one line of JSON for each call.
        access: Who may call.
        web: Where gRPC-Web is served besides, for browsers; None: nowhere.
        web_origins: The pages that may call there.
        metrics: Host and port at which Prometheus finds them; None: it does not.
    """

    address: Address
    engine: EngineOptions
    workers: Mapping[str, int] = field(default_factory=dict)
    command: str = ""
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=worker_environment)
    data_folders: Mapping[str, Path] = field(default_factory=dict)
    devices: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    channel: Literal["auto", "unix", "tcp"] = "auto"
    extensions: bool = True
    discovery: bool = True
    late_calls: bool = False
    grace: float = 0.0
    log_calls: Path | None = None
    access: AccessOptions = field(default_factory=AccessOptions)
    web: Address | None = None
    web_origins: Sequence[str] = ()
    metrics: tuple[str, int] | None = None


class Server:
    """An engine that serves: its services on one address, and the agents of its partitions.

    Args:
        options: What it is started with.

    Attributes:
        engine: The engine.
        calls: The calls it has answered.
        address: Where it listens; after ``start`` with its real port.
        web: What serves browsers, if it is asked for.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.engine = Engine(options.engine)
        self.calls = CallLog(options.log_calls)
        self.address = options.address
        self._agents: list[Agent] = []
        self._streams: list[Any] = []
        self._grpc: Any = None
        self.web: WebServer | None = None
        self._inner = ""
        self._private: TemporaryDirectory | None = None
        self._guard: Any = None
        self._authentication: Authentication | None = None
        self._exposition: Exposition | None = None
        self._engine_runs = False
        self._late: LateCalls | None = None

    async def recover(self) -> None:
        """Recover the state, which takes the event loop for as long as the state is large.

        Raises:
            OptionError: If the address cannot be listened at.
            EngineError: If the state directory is in use or damaged.
        """
        check_free(self.address)
        await self.engine.start()
        self._engine_runs = True

    async def start(self) -> None:
        """Recover the state, unless that is done; start the workers, and serve.

        Raises:
            OptionError: If the address cannot be listened at.
            EngineError: If the state directory is in use or damaged.
        """
        try:
            if not self._engine_runs:
                await self.recover()
            # Workers start while this process is still busy importing gRPC, if it is.
            await self._start_agents()
            await self._serve()
            await self._serve_web()
            self._expose()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let tasks finish for a while, refuse new calls, end the streams, commit, and end."""
        if self.options.grace and self._engine_runs:
            await self.engine.scheduler.drain(self.options.grace)
        if self._exposition is not None:
            await asyncio.to_thread(self._exposition.stop)
            self._exposition = None
        if self._late is not None:
            await self._late.stop()
            self._late = None
        if self._guard is not None:
            self._guard.draining = True
        for service in self._streams:
            service.close()
        results = await asyncio.gather(
            *(agent.stop() for agent in self._agents), return_exceptions=True
        )
        for problem in results:
            if isinstance(problem, BaseException):
                logger.error("an agent did not stop cleanly", exc_info=problem)
        self._agents.clear()
        if self.web is not None:
            await self.web.stop()
            self.web = None
        if self._grpc is not None:
            await self._grpc.stop(CALL_GRACE)
            self._grpc = None
        if self._private is not None:
            self._private.remove()
            self._private = None
        if self._engine_runs:
            self._engine_runs = False
            await self.engine.stop()
        self.calls.close()

    def reload_users(self) -> None:
        """Have the file of users read again, if there is one; calls that have begun go on."""
        file = self.options.access.users_file
        if self._authentication is not None and file is not None:
            from armoflow.engine.access.reloading import reload_users

            reload_users(self._authentication, file)

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds its metrics; empty: nowhere."""
        return "" if self._exposition is None else self._exposition.url

    def interceptors(self) -> Sequence[Any]:
        """What sees every call, outermost first."""
        return (self._guard,)

    def _expose(self) -> None:
        if self.options.metrics is not None:
            from armoflow.engine.exposition import Exposition

            meter = self.engine.meter = Meter(self.engine)
            self._exposition = Exposition(meter.read, *self.options.metrics)

    async def _start_agents(self) -> None:
        directory = self.options.engine.state_directory / "agents"
        for partition, workers in self.options.workers.items():
            if workers:
                agent = self._make_agent(partition, workers, directory)
                self._agents.append(agent)
                await agent.start()

    def _make_agent(self, partition: str, workers: int, directory: Path) -> Agent:
        commands = self.options.commands.get(partition, [self.options.command])
        if any(commands):
            from armoflow.engine.agents.socket import SocketAgent

            return SocketAgent(
                self.engine,
                partition,
                workers,
                directory,
                commands=commands,
                environment=self.options.environment,
                calls=self.calls,
                data_folder=self.options.data_folders.get(partition),
                devices=self.options.devices.get(partition, ()),
                channel=self.options.channel,
            )
        from armoflow.engine.agents.lane import LaneAgent

        return LaneAgent(
            self.engine, partition, workers, directory, environment=self.options.environment
        )

    async def _serve_web(self) -> None:
        if self.options.web is None:
            return
        try:
            from armoflow.engine.web.web_server import WebServer
        except ImportError as error:
            raise OptionError(
                f"--web needs {error.name}, which is not installed: pip install 'armoflow[web]'"
            ) from None
        check_free(self.options.web)
        self.web = WebServer(
            self.options.web,
            self._inner or self.address.target,
            self.options.engine.state_directory,
            self.options.web_origins,
            self.options.access.tls,
        )
        await self.web.start()

    async def _serve(self) -> None:
        if self.options.late_calls:
            self._await_calls()
            await self._serve_stream()
        else:
            self._bind(self.address)
            await self._serve_stream()
            await self._serve_calls(self.address)

    async def _serve_stream(self) -> None:
        """Serve the batch stream beside the engine's socket."""
        # A stream of that socket has no headers, by which an ingress says who calls.
        asks = self.options.access.users is not None
        if self.options.extensions and self.address.stream_path and not asks:
            beside = StreamSocket(self.engine, self.calls, self.address.stream_path)
            self._streams.append(beside)
            await beside.start()

    def _await_calls(self) -> None:
        async def serve(path: str) -> None:
            # gRPC is imported beside: streams are served meanwhile.
            await asyncio.to_thread(import_module, "armoflow.engine.services.register")
            address = self.address._replace(path=path)
            self._bind(address)
            await self._serve_calls(address)

        try:
            self._late = LateCalls(self.address.path, serve)
        except OSError as error:
            reason = located(error, self.address.path).strerror
            raise OptionError(f"cannot listen at {self.address.url}: {reason}") from error

    def _bind(self, address: Address) -> None:
        """Have gRPC listen at an address."""
        import grpc

        from armoflow.engine.access.authentication import Authentication
        from armoflow.engine.services.guard import Guard
        from armoflow.engine.services.register import register_services

        access = self.options.access
        authentication = self._authentication = Authentication(access.users)
        check = authentication.check if authentication.asks else None
        self._guard = Guard(self.calls, self.engine.admission.admit, check)
        self._grpc = grpc.aio.server(
            interceptors=self.interceptors(),
            options=(
                ("grpc.max_receive_message_length", config.REQUEST_LIMIT),
                ("grpc.max_send_message_length", -1),
                # Without this a second server would share the port, and get half of the calls.
                ("grpc.so_reuseport", 0),
                # Of very many calls at once gRPC drops some, whoever's they are. Those of one
                # connection wait at their client instead, so that others' wait for few of them;
                # those that it sends before it has heard that are taken, too.
                ("grpc.max_concurrent_streams", config.CALLS_OF_CONNECTION),
                ("grpc.http.overload_protection", 0),
                ("grpc.server.max_pending_requests", PENDING),
                ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING),
                # A peer that vanished with its machine or network does not end its connection.
                ("grpc.keepalive_time_ms", int(config.KEEPALIVE_SECONDS * 1000)),
                ("grpc.keepalive_timeout_ms", int(config.KEEPALIVE_SECONDS * 1000)),
                ("grpc.http2.ping_timeout_ms", int(config.KEEPALIVE_SECONDS * 1000)),
                ("grpc.http2.max_pings_without_data", 0),
                # Clients keep idle event streams alive with pings as often as they like.
                ("grpc.http2.min_ping_interval_without_data_ms", 1000),
                ("grpc.keepalive_permit_without_calls", 1),
            ),
        )
        self._streams += register_services(
            self._grpc,
            self.engine,
            authentication,
            extensions=self.options.extensions,
            discovery=self.options.discovery,
        )
        port = self._listen(address)
        if not address.path:
            self.address = self.address._replace(port=port)

    async def _serve_calls(self, address: Address) -> None:
        await self._grpc.start()
        if address.path:
            os.chmod(address.path, 0o600)  # noqa: PTH101 - no waiting

    def _listen(self, address: Address) -> int:
        """Bind the addresses; the port of the one that clients use."""
        tls = self.options.access.tls
        try:
            if not self.address.secure or tls is None:
                return int(self._grpc.add_insecure_port(address.target))
            if self.options.web is not None:
                # The engine's own gRPC-Web has no client's certificate to show.
                self._private = TemporaryDirectory()
                self._inner = unix_target(self._private.path / "engine.sock")
                self._grpc.add_insecure_port(self._inner)
            return int(self._grpc.add_secure_port(address.target, tls.credentials()))
        except RuntimeError as error:
            raise OptionError(f"cannot listen at {self.address.url}: {error}") from error
