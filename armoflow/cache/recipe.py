"""What a kept value can be computed again from: the task that made it, as it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgpack

from armoflow.errors import EnvelopeError

_FORMAT = 1

PAYLOAD = "payload"
"""The id of the payload, in what is told of the task."""

MODULES = "modules"
"""That of the user's modules."""


def input_id(number: int) -> str:
    """The id of an input."""
    return f"input-{number}"


def constant_id(number: int) -> str:
    """The id of a constant."""
    return f"constant-{number}"


def output_id(number: int) -> str:
    """The id of an output."""
    return f"output-{number}"


class Ingredient(NamedTuple):
    """An input of the task.

    Attributes:
        opaque_id: The engine's name for its data.
        data: The data itself, where it was small.
    """

    opaque_id: bytes
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A task, as its worker was given it; ids are those of this module.

    Attributes:
        payload: The payload, with all code in it but the modules, which many have.
        inputs: The inputs, in their order.
        constants: The constants, in theirs.
        outputs: How many outputs the task has.
    """

    payload: bytes
    inputs: Sequence[Ingredient]
    constants: Sequence[bytes]
    outputs: int

    def encode(self) -> bytes:
        """As data.

        Example:
            >>> recipe = Recipe(b"payload", [Ingredient(b"1", None)], [b"put"], 1)
            >>> decode_recipe(recipe.encode()) == recipe
            True
        """
        inputs = [list(each) for each in self.inputs]
        fields = [_FORMAT, self.payload, inputs, list(self.constants), self.outputs]
        data: bytes = msgpack.packb(fields, use_bin_type=True)
        return data


def decode_recipe(data: bytes) -> Recipe:
    """Read it back.

    Raises:
        EnvelopeError: If it is something else, or of another armoflow.
    """
    try:
        form, payload, inputs, constants, outputs = msgpack.unpackb(data)
        if form != _FORMAT:
            raise ValueError(f"it has format {form!r}, this armoflow reads {_FORMAT}")
        return Recipe(payload, [Ingredient(*each) for each in inputs], constants, outputs)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise EnvelopeError(f"stored data is not what a value was made from: {error}") from error
