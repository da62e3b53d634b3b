"""What all calls of a task with the same options and the same code have in common.

It is worked out once; a further call costs its own arguments.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from armoflow import config
from armoflow.codec.payload import Pickled
from armoflow.codec.pickler import PROTOCOL
from armoflow.errors import SerializationError
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.graph.task import BaseTask
from armoflow.options import TaskOptions, merge_options
from armoflow.orchestrator.codebook import CodeBook, EncodedCode
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.emitter import Emitter
from armoflow.orchestrator.planning.settings import PlanSettings
from armoflow.orchestrator.sizes import UNMEASURED_BATCH, SiblingSizer

if TYPE_CHECKING:
    from armoflow.orchestrator.calls import Call

_FIXED_SIZE = frozenset({int, float, bool, type(None), complex})
_NO_KEYWORDS: dict[str, Any] = {}

KEPT_TEMPLATES = 1_000

_Kind = tuple[str, TaskOptions, "TaskOptions | None", int]
"""Name, options, block and the id of the settings that hold for calls."""


class Code(NamedTuple):
    """A task with its code, as it was when it was called.

    Attributes:
        task: The task.
        function: Its function.
        modules: The user's modules.
    """

    task: BaseTask[Any, Any]
    function: EncodedCode
    modules: EncodedCode | None

    @property
    def digests(self) -> tuple[str, str]:
        """What tells it from other code."""
        return self.function.digest, self.modules.digest if self.modules else ""


class Prepared(NamedTuple):
    """A call that is ready to start.

    Attributes:
        template: What it shares with its like.
        code: Its code.
        arguments: Its arguments.
    """

    template: Template
    code: Code
    arguments: Pickled


class Template:
    """What the calls of a task share that have the same options and the same code.

    It holds neither the task nor the code: these go when nobody needs them.

    Attributes:
        node: Stands for each of them in the planner's tables.
        digests: Their code.
        emitter: Makes their engine tasks.
        sizer: How many go into one.
        waiting: Those that were not sent, in order.
        since: When the oldest of these came, or the last were sent; in the loop's time.
        under_way: Their engine tasks that have not ended.
        wave: How many tasks may still go unmeasured before the others wait another moment.
        enough: While they are held back: how many must wait to be looked at before their time.
        partition: Where their tasks run.
        looked: When the engine was asked last whether one runs; in the loop's time.
        queued: None does: their tasks wait behind those of others.
    """

    __slots__ = (
        *("digests", "emitter", "enough", "looked", "node", "partition", "queued"),
        *("since", "sizer", "under_way", "waiting", "wave"),
    )

    def __init__(
        self, call: CallNode, digests: tuple[str, str], emitter: Emitter, sizer: _Sizer
    ) -> None:
        self.node = Node(call.name, call.options)
        self.node.options, self.node.block = call.options, call.block
        self.digests = digests
        self.emitter = emitter
        self.sizer = sizer
        self.waiting: deque[Call] = deque()
        self.since = 0.0
        self.under_way = 0
        self.enough: float = 0
        self.wave = 0
        self.partition = ""
        self.looked = 0.0
        self.queued = False


class _Sizer(SiblingSizer):
    """Tells when it learns something."""

    def __init__(self, workers: int, target: float, most: int, told: Callable[[], None]) -> None:
        super().__init__(workers, target, most)
        self._told = told

    def measured(self, items: int, seconds: float) -> None:
        super().measured(items, seconds)
        self._told()


def is_plain(value: Any) -> bool:
    """Whether a lazy value is a single call that waits for nothing: it may be packed.

    Example:
        >>> from armoflow import task
        >>> double = task(lambda number: 2 * number)
        >>> is_plain(double(1)), is_plain(double(double(1)))
        (True, False)
    """
    if type(value) is not Delayed:
        return False
    node = value.node
    return type(node) is CallNode and not node.arguments and node.outputs == 1


class _PlanInsteadError(Exception):
    """An argument holds a future or a ``put`` reference, or is large."""


class _References:
    """Tells of references inside arguments."""

    def __init__(self, kinds: frozenset[type]) -> None:
        self.kinds = kinds

    def resolve(self, value: Any) -> Any:
        raise _PlanInsteadError

    def stop(self) -> None:
        """There is nothing to wait for."""


class Templates:
    """The templates of one client's calls; used by any thread.

    Args:
        book: The code that was sent already.
        told: Called when something was measured.
        owner: Whom their tasks belong to.
    """

    def __init__(self, book: CodeBook, told: Callable[[], None], owner: object) -> None:
        self._book = book
        self._told = told
        self._owner = owner
        self._lock = threading.Lock()
        self._emitters: dict[int, tuple[PlanSettings, Emitter]] = {}
        self._templates: WeakKeyDictionary[Any, dict[_Kind, Template]] = WeakKeyDictionary()

    def prepare(
        self, nodes: Sequence[CallNode], settings: PlanSettings, references: frozenset[type]
    ) -> list[Prepared] | None:
        """Take the arguments and the code of calls, as they are now.

        Args:
            nodes: The calls; see :func:`is_plain`.
            settings: What holds for the graph that each of them is.
            references: Types of futures and ``put`` references.

        Returns:
            What ``Calls.start`` takes; None if one must be planned after all: its arguments are
            large, hold a reference, or cannot be pickled; or its function cannot.

        Raises:
            SubmissionError: If one asks for what the session does not allow.
        """
        codes: dict[Any, Code] = {}
        prepared = []
        try:
            pickles = self._pickle(nodes, references)
            for node, pickled in zip(nodes, pickles, strict=True):
                code = codes.get(node.task)
                if code is None:
                    code = codes[node.task] = self._encode(node.task)
                prepared.append(Prepared(self._template(node, code, settings), code, pickled))
        except (_PlanInsteadError, SerializationError):
            return None
        return prepared

    def _pickle(self, nodes: Sequence[CallNode], references: frozenset[type]) -> list[Pickled]:
        draft = Draft(None, _References(references), copy=True)
        pickles = [_pickle(draft, node) for node in nodes]
        if draft.size > config.SHARED_ARGUMENT_LIMIT * len(nodes):
            raise _PlanInsteadError
        if draft.modules:
            self._book.add_modules(draft.modules)
        return pickles

    def _encode(self, task: BaseTask[Any, Any]) -> Code:
        return Code(task, self._book.function(task.function), self._book.modules())

    def _template(self, node: CallNode, code: Code, settings: PlanSettings) -> Template:
        kind = (node.name, node.options, node.block, id(settings))
        with self._lock:
            try:
                templates = self._templates.setdefault(code.task.function, {})
            except TypeError:  # it cannot be hashed, or not weakly held: then it is not recognised
                templates = {}
            template = templates.get(kind)
            if template is None or template.digests != code.digests:
                if len(templates) >= KEPT_TEMPLATES:
                    templates.clear()
                template = templates[kind] = self._new_template(node, code, settings)
            return template

    def _new_template(self, node: CallNode, code: Code, settings: PlanSettings) -> Template:
        emitter = self._emitter(settings)
        rules = settings.rules.of(node)
        if node.block is not None and settings.limits is not None:
            settings.limits.check(node.name, merge_options(node.block, settings.options))
        most = rules.batch_size or UNMEASURED_BATCH
        sizer = _Sizer(settings.workers, settings.batch_seconds, most, self._told)
        return Template(node, code.digests, emitter, sizer)

    def _emitter(self, settings: PlanSettings) -> Emitter:
        known = self._emitters.get(id(settings))
        if known is None:
            if len(self._emitters) >= KEPT_TEMPLATES:
                self._emitters.clear()
                self._templates.clear()  # they go by the ids of settings
            emitter = Emitter(self._book, settings, self._owner)
            known = self._emitters[id(settings)] = (settings, emitter)
        return known[1]


def _pickle(draft: Draft, node: CallNode) -> Pickled:
    args, kwargs = node.args, node.kwargs
    if not kwargs and _FIXED_SIZE.issuperset(map(type, args)):
        return Pickled(pickle.dumps((args, _NO_KEYWORDS), PROTOCOL))
    return draft.dumps((args, kwargs), node.name)
