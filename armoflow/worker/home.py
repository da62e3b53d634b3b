"""What a child process is started in, and keeps for all its life."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from armoflow.system.devices import VISIBLE_DEVICES
from armoflow.worker.virtual_environments import VirtualEnvironment


class Home(NamedTuple):
    """Where a process is at home: tasks of another home run in another process.

    Libraries look for devices once, when they begin to use them: what a process sees is said when
    it starts.

    Attributes:
        virtual_environment: What it runs in; None: where its owner does.
        devices: The graphics processors that it sees; None: those that its owner does.
    """

    virtual_environment: VirtualEnvironment | None = None
    devices: tuple[str, ...] | None = None

    @property
    def python(self) -> str | None:
        """The interpreter; None: its owner's."""
        return None if self.virtual_environment is None else self.virtual_environment.python

    @property
    def requirements(self) -> tuple[str, ...]:
        """What is installed there besides."""
        return () if self.virtual_environment is None else self.virtual_environment.requirements

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The variables of its processes.

        Example:
            >>> Home(devices=("2", "3")).variables({"LANG": "C"})
            {'LANG': 'C', 'CUDA_VISIBLE_DEVICES': '2,3'}
        """
        home = self.virtual_environment
        variables = dict(environment) if home is None else home.variables(environment)
        if self.devices is not None:
            variables[VISIBLE_DEVICES] = ",".join(self.devices)
        return variables


USUAL = Home()
"""That of the owner of the processes."""
