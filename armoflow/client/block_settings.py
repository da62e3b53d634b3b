"""How graphs are planned, where the blocks around the caller say it otherwise than the client."""

from __future__ import annotations

import dataclasses

from armoflow.options import TaskOptions, current_block, merge_options
from armoflow.orchestrator.planning.plan_settings import PlanSettings


class BlockSettings:
    """The settings of one client, in the blocks of those who ask it.

    Args:
        settings: What holds outside of any block.
    """

    def __init__(self, settings: PlanSettings) -> None:
        self._settings = settings
        self._in_block: tuple[TaskOptions | None, PlanSettings] = (None, settings)

    def here(self) -> PlanSettings:
        """The settings in the blocks around the caller; what is asked for in one shares them."""
        block = current_block()
        if block is None:
            return self._settings
        known, settings = self._in_block
        if known is not block:
            options = merge_options(block, self._settings.options)
            settings = dataclasses.replace(self._settings, options=options)
            self._in_block = block, settings
        return settings
