"""What modules keep for all of their process: how each is read, and set back.

Where a module is not loaded, it keeps nothing: that reads as None, which is also what stands for a
state that is as Python makes it.
"""

from __future__ import annotations

import _locale
import copyreg
import sys
import time
from typing import Any

from armoflow.worker.process_item import Item


def _silenced() -> int:
    """Below which level nothing is logged, whoever logs it."""
    logging = sys.modules.get("logging")
    return logging.root.manager.disable if logging is not None else 0


def _set_silenced(level: int) -> None:
    sys.modules["logging"].disable(level)


SILENCED = Item(_silenced, _set_silenced)


def _zone() -> tuple[Any, ...]:
    return time.tzname, time.timezone, time.altzone


def _set_zone(_: tuple[Any, ...]) -> None:
    """As the environment, which was put back before, has it."""
    time.tzset()


ZONE = Item(_zone, _set_zone)


def reducers() -> Item:
    """How values of types are pickled, whoever pickles them."""
    held = copyreg.dispatch_table

    def write(value: dict[Any, Any]) -> None:
        held.clear()
        held.update(value)

    return Item(lambda: held, write)


def _tracing_memory() -> bool:
    tracer: Any = sys.modules.get("_tracemalloc")
    return tracer is not None and bool(tracer.is_tracing())


def _trace_memory(traced: bool) -> None:
    tracer: Any = sys.modules["_tracemalloc"]
    (tracer.start if traced else tracer.stop)()


MEMORY_TRACER = Item(_tracing_memory, _trace_memory)


def _locale_name() -> Any:
    return _locale.setlocale(_locale.LC_ALL)


def _set_locale(name: str) -> None:
    _locale.setlocale(_locale.LC_ALL, name)


LOCALE = Item(_locale_name, _set_locale)


_USUAL_DECIMALS = (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0)
_USUAL_TRAPS = ("InvalidOperation", "DivisionByZero", "Overflow")


def _usual_context(decimal: Any) -> tuple[Any, ...]:
    return (*_USUAL_DECIMALS, [], [getattr(decimal, name) for name in _USUAL_TRAPS])


def _decimal_contexts() -> Any:
    """How decimals are rounded: in this thread, and in new ones."""
    decimal: Any = sys.modules.get("decimal")
    if not hasattr(decimal, "DefaultContext"):
        return None
    here, new = decimal.getcontext().__reduce__()[1], decimal.DefaultContext.__reduce__()[1]
    usual = _usual_context(decimal)
    return None if here == new == usual else (here, new)


def _set_decimal_contexts(value: Any) -> None:
    decimal = sys.modules["decimal"]
    usual = _usual_context(decimal)
    here, new = value or (usual, usual)
    decimal.setcontext(decimal.Context(*here))
    default, template = decimal.DefaultContext, decimal.Context(*new)
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(default, name, getattr(template, name))
    default.traps.update(template.traps)
    default.flags.update(template.flags)


DECIMALS = Item(_decimal_contexts, _set_decimal_contexts)


_USUAL_FLOATS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def _float_errors() -> Any:
    """What NumPy does where a number overflows, or is divided by nothing."""
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "geterr"):
        return None
    found = numpy.geterr()
    return None if found == _USUAL_FLOATS else found


def _set_float_errors(value: Any) -> None:
    sys.modules["numpy"].seterr(**(value or _USUAL_FLOATS))


FLOAT_ERRORS = Item(_float_errors, _set_float_errors)


def _temporary() -> Any:
    """Where temporary files go, if somebody has asked: that is not asked again."""
    return getattr(sys.modules.get("tempfile"), "tempdir", None)


def _set_temporary(value: Any) -> None:
    vars(sys.modules["tempfile"])["tempdir"] = value


TEMPORARY = Item(_temporary, _set_temporary)


def _start_method() -> Any:
    multiprocessing = sys.modules.get("multiprocessing")
    get = getattr(multiprocessing, "get_start_method", None)
    return None if get is None else get(allow_none=True)


def _set_start_method(name: str | None) -> None:
    sys.modules["multiprocessing"].set_start_method(name, force=True)


START_METHOD = Item(_start_method, _set_start_method)


def _event_loops() -> Any:
    """Asyncio's policy, with the event loop that it has for this thread, and the one that runs."""
    events: Any = sys.modules.get("asyncio.events")
    if not hasattr(events, "_get_running_loop"):
        return None
    found = getattr(events, "_event_loop_policy", None), events._get_running_loop()
    return None if found == (None, None) else found


def _set_event_loops(value: Any) -> None:
    events = sys.modules["asyncio.events"]
    policy, running = value or (None, None)
    vars(events)["_event_loop_policy"] = policy
    events._set_running_loop(running)


EVENT_LOOPS = Item(_event_loops, _set_event_loops)
