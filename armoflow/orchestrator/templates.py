"""What all calls of a task with the same options and the same code have in common.

It is worked out once; a further call costs its own arguments.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from armoflow import config
from armoflow.codec.payload import Pickled
from armoflow.codec.pickler import PROTOCOL
from armoflow.codec.references import uses_nothing
from armoflow.errors import SerializationError
from armoflow.graph.base_task import BaseTask
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode, Node
from armoflow.options import TaskOptions, merge_options
from armoflow.orchestrator.codebook import CodeBook, EncodedCode
from armoflow.orchestrator.outcomes import Names
from armoflow.orchestrator.pack_sizes import MOST, PackSizer
from armoflow.orchestrator.packs import PackPlace
from armoflow.orchestrator.planning.call_arguments import nbytes
from armoflow.orchestrator.planning.drafts import Draft, with_memory_of_its_own
from armoflow.orchestrator.planning.emitter import Emitter
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.tracing import Labels

_FIXED_SIZE = frozenset({int, float, bool, type(None), complex})
_NO_KEYWORDS: dict[str, Any] = {}

KEPT_TEMPLATES = 1_000

_Kind = tuple[str, TaskOptions, "TaskOptions | None", int]
"""Name, options, block and the id of the settings that hold for calls."""


class CalledCode(NamedTuple):
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


class PlainCall(PackPlace):
    """One call on its way.

    Attributes:
        template: What it shares with its like.
        code: Its code, as it was when it was made; None once it was sent, or given up.
        arguments: Its arguments.
        trace: The trace that it belongs to.
    """

    __slots__ = ("arguments", "code", "template", "trace")

    def __init__(self, template: Template, code: CalledCode, arguments: Pickled) -> None:
        self.receiver = self.pack = None
        self.template = template
        self.code: CalledCode | None = code
        self.arguments: Pickled | None = arguments
        self.trace: Labels = ()

    def cancel(self) -> bool:
        """Cancel it, in the loop's thread; False if it is done already."""
        return self.template.cancel(self)

    def sent(self) -> None:
        """What is under way needs nothing more here."""
        self.code = self.arguments = None


class Template:
    """What the calls of a task share that have the same options and the same code.

    It holds neither the task nor the code: these go when nobody needs them.

    Attributes:
        node: Stands for each of them in the planner's tables.
        names: What errors call each.
        cancel: Cancels one of them.
        digests: Their code.
        emitter: Makes their engine tasks.
        sizer: How many go into one.
        waiting: Those that were not sent, in order.
        since: When the oldest of these came, or the last were sent; in the loop's time.
        under_way: Their engine tasks that have not ended.
        failed: How many have ended and were not measured, as those are that fail: so many more may
            be under way, since nothing else will say how long others take.
        wave: How many tasks may still go unmeasured before the others wait another moment.
        enough: While they are held back: how many must wait to be looked at before their time.
        partition: Where their tasks run.
        looked: When the engine was asked last whether one runs; in the loop's time.
        queued: None does: their tasks wait behind those of others.
    """

    __slots__ = (
        *("cancel", "digests", "emitter", "enough", "failed", "looked", "names", "node"),
        *("partition", "queued", "since", "sizer", "under_way", "waiting", "wave"),
    )

    def __init__(
        self,
        call: CallNode,
        digests: tuple[str, str],
        emitter: Emitter,
        sizer: PackSizer,
        cancel: Callable[[PlainCall], bool],
    ) -> None:
        self.node = Node(call.name, call.options)
        self.node.options, self.node.block = call.options, call.block
        self.names = Names.of(call)
        self.cancel = cancel
        self.digests = digests
        self.emitter = emitter
        self.sizer = sizer
        self.waiting: deque[PlainCall] = deque()
        self.since = 0.0
        self.under_way = self.failed = 0
        self.enough: float = 0
        self.wave = 0
        self.partition = ""
        self.looked = 0.0
        self.queued = False

    def is_of(self, call: CallNode) -> bool:
        """Whether a call's name and options are the very same, as those of one task mostly are."""
        node = self.node
        return node.name is call.name and node.options is call.options and node.block is call.block


def _is_large(value: Any) -> bool:
    return type(value) not in _FIXED_SIZE and nbytes(value) > config.SHARED_ARGUMENT_LIMIT


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
    """An argument holds a future or a ``put`` reference, or is large; or its value is kept."""


class _NoReferences:
    """Tells of references inside arguments."""

    def __init__(self, kinds: frozenset[type]) -> None:
        self.kinds = kinds

    def resolve(self, value: Any) -> Any:
        raise _PlanInsteadError

    def stop(self) -> None:
        """There is nothing to wait for."""


class _Encoded(NamedTuple):
    """A function's code as it was, and what it depends on.

    Attributes:
        body: The function's own code object, if it depends on nothing else; else None.
        bundle: Stands for the user's modules.
        function: The function, encoded.
        modules: The modules, encoded.
    """

    body: object
    bundle: object
    function: EncodedCode
    modules: EncodedCode | None


class _KnownFunction:
    """What is known of a function's calls; each attribute is read and set as a whole.

    Attributes:
        templates: By kind of call.
        encoded: Its code, where that cannot change but by being replaced.
        last: The last call's code and modules, its settings and its template.
    """

    __slots__ = ("encoded", "last", "templates")

    def __init__(self) -> None:
        self.templates: dict[_Kind, Template] = {}
        self.encoded: _Encoded | None = None
        self.last: tuple[EncodedCode, EncodedCode | None, PlanSettings, Template] | None = None


class Templates:
    """The templates of one client's calls; used by any thread.

    Args:
        book: The code that was sent already.
        told: Called when something was measured.
        cancel: Cancels a call.
        owner: Whom their tasks belong to.
    """

    def __init__(
        self,
        book: CodeBook,
        told: Callable[[], None],
        cancel: Callable[[PlainCall], bool],
        owner: object,
    ) -> None:
        self._book = book
        self._told = told
        self._cancel = cancel
        self._owner = owner
        self._lock = threading.Lock()
        self._emitters: dict[int, tuple[PlanSettings, Emitter]] = {}
        self._known: WeakKeyDictionary[Any, _KnownFunction] = WeakKeyDictionary()

    def prepare(
        self,
        nodes: Sequence[CallNode],
        settings: PlanSettings,
        references: frozenset[type],
        pickled: dict[Node, Pickled] | None = None,
    ) -> list[PlainCall] | None:
        """Take the arguments and the code of calls, as they are now.

        Args:
            nodes: The calls; see :func:`is_plain`.
            settings: What holds for the graph that each of them is.
            references: Types of futures and ``put`` references.
            pickled: Gets the arguments that were pickled, for who must plan the calls.

        Returns:
            What ``Calls.start`` takes; None if one must be planned after all: its arguments are
            large, hold a reference, or cannot be pickled; or its function cannot.

        Raises:
            SubmissionError: If one asks for what the session does not allow.
        """
        codes: dict[Any, tuple[_KnownFunction, CalledCode]] = {}
        calls = []
        pickles: list[Pickled] = []
        try:
            self._pickle(nodes, references, pickles)
            for node, arguments in zip(nodes, pickles, strict=True):
                found = codes.get(node.task)
                if found is None:
                    found = codes[node.task] = self._code(node.task)
                known, code = found
                template = self._template(known, node, code, settings)
                calls.append(PlainCall(template, code, arguments))
        except (_PlanInsteadError, SerializationError):
            if pickled is not None:  # what is beside a pickle, the plan may send once for several
                pairs = zip(nodes, pickles, strict=False)
                pickled.update((node, one) for node, one in pairs if not one.buffers)
            return None
        return calls

    def _pickle(
        self, nodes: Sequence[CallNode], references: frozenset[type], pickles: list[Pickled]
    ) -> None:
        draft = Draft(None, _NoReferences(references))
        most = config.SHARED_ARGUMENT_LIMIT * len(nodes)
        beside = False
        try:
            for node in nodes:
                args, kwargs = node.args, node.kwargs
                if not kwargs and _FIXED_SIZE.issuperset(map(type, args)):
                    pickles.append(Pickled(pickle.dumps((args, _NO_KEYWORDS), PROTOCOL)))
                    continue
                if any(map(_is_large, args)) or (kwargs and any(map(_is_large, kwargs.values()))):
                    raise _PlanInsteadError  # before it is pickled
                pickles.append(draft.dumps((args, kwargs), node.name))
                beside = beside or bool(pickles[-1].buffers)
                if draft.size > most:
                    raise _PlanInsteadError
        finally:  # whoever plans the calls uses these pickles too
            if draft.modules or draft.code:
                self._book.add_modules(draft.modules, draft.code)
            if draft.others:
                self._book.add_packages(draft.others)
        if beside:  # the caller goes on, and may write to it
            pickles[:] = map(with_memory_of_its_own, pickles)

    def _code(self, task: BaseTask[Any, Any]) -> tuple[_KnownFunction, CalledCode]:
        book, function = self._book, task.function
        try:
            known = self._known.get(function)
            if known is None:
                with self._lock:
                    known = self._known.setdefault(function, _KnownFunction())
        except TypeError:  # it cannot be hashed, or not weakly held: then it is not recognised
            known = _KnownFunction()
        encoded = known.encoded
        if encoded is None or not book.is_unchanged(function, encoded.body, encoded.bundle):
            body = function.__code__ if uses_nothing(function) else None
            coded = book.function(function)
            bundle = book.bundle  # before the modules: if these change, it is not theirs
            encoded = _Encoded(body, bundle, coded, book.modules())
            if body is not None:  # other code is looked at each time, and what is stored of it goes
                known.encoded = encoded
        return known, CalledCode(task, encoded.function, encoded.modules)

    def _template(
        self, known: _KnownFunction, node: CallNode, code: CalledCode, settings: PlanSettings
    ) -> Template:
        last = known.last
        if (
            last is not None
            and last[0] is code.function
            and last[1] is code.modules
            and last[2] is settings
            and last[3].is_of(node)
        ):
            return last[3]
        kind = (node.name, node.options, node.block, id(settings))
        with self._lock:
            templates = known.templates
            template = templates.get(kind)
            if template is None or template.digests != code.digests:
                if len(templates) >= KEPT_TEMPLATES:
                    templates.clear()
                template = templates[kind] = self._new_template(node, code, settings)
            if known.encoded is not None:
                known.last = code.function, code.modules, settings, template
            return template

    def _new_template(self, node: CallNode, code: CalledCode, settings: PlanSettings) -> Template:
        emitter = self._emitter(settings)
        rules = settings.rules.of(node)
        if rules.cached:
            raise _PlanInsteadError
        if node.block is not None and settings.limits is not None:
            settings.limits.check(node.name, merge_options(node.block, settings.options))
        most = rules.batch_size or MOST
        sizer = PackSizer(settings.workers_of(node), settings.packing, most, self._told)
        return Template(node, code.digests, emitter, sizer, self._cancel)

    def _emitter(self, settings: PlanSettings) -> Emitter:
        known = self._emitters.get(id(settings))
        if known is None:
            if len(self._emitters) >= KEPT_TEMPLATES:
                self._emitters.clear()
                self._known.clear()  # they go by the ids of settings
            emitter = Emitter(self._book, settings, self._owner)
            known = self._emitters[id(settings)] = (settings, emitter)
        return known[1]
