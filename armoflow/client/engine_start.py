"""What a client does first: it starts its engine, or finds out which one is meant.

An engine takes a while to serve. Meanwhile the client imports what it needs itself, gRPC above all:
so nothing is imported here that can wait.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from armoflow import config
from armoflow.client.own_engine import OwnEngine
from armoflow.client.private_engine import PrivateEngine
from armoflow.offers import read_offers
from armoflow.protocol.grpc_setup import prepare_grpc
from armoflow.protocol.settings import ConnectionSettings
from armoflow.system.descriptors import open_standard_streams, require_files
from armoflow.system.grants import processors


class EngineStart:
    """An engine that is started, unless it runs elsewhere; left again if what follows fails.

    Args:
        settings: Where it is, None for one of this machine.
        state: The state directory of the one to share; None: it is private.
        workers: Worker processes, if that was said.
        extensions: Whether a private one serves the batch extension.

    Raises:
        OptionError: If the file of settings says what cannot be.
        EngineError: If it cannot be started.

    Attributes:
        settings: Where it is.
        engine: The one of this machine.
        state: Its state directory, if it is shared.
        workers: The worker processes of a private one; else as was said.
        offers: What the file of settings says of partitions.
    """

    def __init__(
        self,
        settings: ConnectionSettings | None,
        state: Path | None,
        workers: int | None,
        *,
        extensions: bool,
    ) -> None:
        self.offers = read_offers(os.environ)  # what it holds is known to be right before a start
        open_standard_streams()
        require_files(config.CLIENT_FILES, "a client of an engine")
        prepare_grpc()  # the engine's process takes it over
        self.state = state
        self.workers = workers
        self.engine: OwnEngine | None = None
        if state is not None:
            from armoflow.client.shared_engine import SharedEngine

            self.engine = SharedEngine(state, workers or processors())
        elif settings is None:
            self.workers = workers or processors()
            self.engine = PrivateEngine(self.workers, extensions)
        if self.engine is not None:
            settings = ConnectionSettings(self.engine.endpoint)
        assert settings is not None
        self.settings = settings

    def __enter__(self) -> EngineStart:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self.engine is not None:
            self.engine.stop()
