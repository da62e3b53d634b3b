"""Of some of what is kept, what it can be computed again from: a sample that any client can check.

The payload of a task goes with its session, on many clusters with the task, and so do inputs that
nobody keeps. So it is taken down here, where it is small: what is large is named by its opaque id,
and is there as long as the engine has it.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from armoflow import config
from armoflow.cache.recipe import MODULES, Ingredient, Recipe, constant_id, input_id
from armoflow.codec.payload import CodeReference, Payload
from armoflow.codec.payload_layout import pack_payload
from armoflow.errors import DataLostError
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.protocol.transport import Transport

_Code = Callable[[str], "bytes | None"]


class RecipeSource(NamedTuple):
    """A task of which it is to be taken down; holds its inputs, so that they stay until then.

    Attributes:
        payload: Its payload.
        inputs: Its inputs.
        constants: Its constants.
        outputs: How many outputs it has.
        output: Which of them this is for.
    """

    payload: Payload
    inputs: Sequence[Result]
    constants: Sequence[Constant]
    outputs: int
    output: int


class WrittenRecipe(NamedTuple):
    """What was taken down.

    Attributes:
        output: Which output of the task it is for.
        recipe: The task, encoded.
        modules: The digest of the user's modules, if it needs some.
        bundle: These modules: many have the same.
    """

    output: int
    recipe: bytes
    modules: str | None
    bundle: bytes


class RecipeWriter:
    """Takes down a sample of the tasks of each name; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        code: Gives code by its digest, as far as it is known.
    """

    def __init__(self, transport: Transport, code: _Code) -> None:
        self._transport = transport
        self._code = code
        self._seen: Counter[str] = Counter()

    def draft(self, task: PlannedTask, output: int) -> RecipeSource | None:
        """What to take down of a task that is being submitted; None: it is not of the sample.

        The first ones are, and of further ones fewer and fewer.
        """
        self._seen[task.name] += 1
        if random.random() * self._seen[task.name] >= config.CACHE_RECIPES_TAKEN:
            return None
        payload = task.payload
        small = task.size + sum(constant.size for constant in task.constants)
        if payload is None or small > config.CACHE_RECIPE_BYTES:
            return None
        return RecipeSource(payload, task.inputs, task.constants, len(task.outputs), output)

    async def write(self, session_id: str, draft: RecipeSource) -> WrittenRecipe | None:
        """Take it down; None: some of it is gone, or it is too large.

        Raises:
            EngineError: If there is no answer.
        """
        room = config.CACHE_RECIPE_BYTES
        inputs = await self._inputs(session_id, draft.inputs, room)
        constants = await self._transport.fetch(
            session_id, [constant.result_id for constant in draft.constants]
        )
        payload = self._whole(draft.payload, len(draft.inputs), len(constants))
        if inputs is None or payload is None:
            return None
        data = [bytes(one) for one in constants if not isinstance(one, DataLostError)]
        if len(data) < len(constants):
            return None
        modules, bundle = draft.payload.modules, b""
        if modules is not None:
            bundle = self._code(modules.digest) or b""
            if not 0 < len(bundle) <= config.CACHE_RECIPE_MODULES:
                return None
        recipe = Recipe(b"".join(pack_payload(payload)), inputs, data, draft.outputs).encode()
        if len(recipe) > 2 * room:
            return None
        return WrittenRecipe(
            draft.output, recipe, None if modules is None else modules.digest, bundle
        )

    async def _inputs(
        self, session_id: str, results: Sequence[Result], room: int
    ) -> list[Ingredient] | None:
        located = await self._transport.located(session_id, [result.id for result in results])
        if any(result.id not in located for result in results):
            return None
        taken = []
        for result in results:
            size = located[result.id][1]
            if size <= room:
                room -= size
                taken.append(result.id)
        fetched = await self._transport.fetch(session_id, taken)
        data = {
            id_: bytes(content)
            for id_, content in zip(taken, fetched, strict=True)
            if not isinstance(content, DataLostError)
        }
        return [Ingredient(located[one.id][0], data.get(one.id)) for one in results]

    def _whole(self, payload: Payload, inputs: int, constants: int) -> Payload | None:
        """The payload with its code, and without what is the session's own."""
        function = None
        if payload.function is not None:
            function = self._inline(payload.function)
            if function is None:
                return None
        stages = []
        for stage in payload.stages:
            code = self._inline(stage.function)
            if code is None:
                return None
            stages.append(stage._replace(function=code))
        modules = payload.modules
        return dataclasses.replace(
            payload,
            function=function,
            modules=None if modules is None else CodeReference(modules.digest, None, MODULES),
            stages=stages,
            inputs=[*map(input_id, range(inputs))],
            constants=[*map(constant_id, range(constants))],
            key=b"",
            paces=(),
            target=0.0,
        )

    def _inline(self, reference: CodeReference) -> CodeReference | None:
        data = reference.data or self._code(reference.digest)
        return None if data is None else CodeReference(reference.digest, data)
