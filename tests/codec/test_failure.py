import importlib
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import config
from armoflow.codec.clipping import short_error
from armoflow.codec.exceptions import Form
from armoflow.codec.failure import WHOLE, ErrorRecord
from armoflow.codec.recording import (
    record_death,
    record_exception,
    record_loss,
    record_timeout,
)
from armoflow.codec.seal import new_key
from armoflow.codec.traces import Earlier, TraceFrame
from armoflow.errors import (
    DataLostError,
    RemoteTaskError,
    RemoteTraceback,
    TaskCancelledError,
    TaskTimeoutError,
    WorkerDiedError,
)


class TwoArguments(Exception):
    def __init__(self, name, code):
        super().__init__(f"{name} failed with {code}")
        self.name = name
        self.code = code


class Attributes(Exception):
    def __init__(self, *, reason):
        super().__init__()
        self.reason = reason

    def __str__(self):
        return f"because {self.reason}"


class BadText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Unpicklable(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.generator = (n for n in ())


class Changing(Exception):
    def __reduce__(self):
        return ValueError, ("something else",)


class Fatal(Exception):
    def __reduce__(self):
        return sys.exit, (3,)


class Outer:
    class Inner(Exception):
        pass


def raised(function, *args):
    try:
        function(*args)
    except BaseException as error:
        return error
    raise AssertionError("it should raise")


def throw(error):
    raise error


KEY = new_key()


def travel(record):
    """As bytes and as text, within the limit both ways."""
    data = record.encode(KEY)
    text = short_error(record.to_text(KEY))
    assert len(data) <= config.ERROR_RECORD_LIMIT
    assert len(text.encode()) <= config.ERROR_RECORD_LIMIT
    again = ErrorRecord.decode(data, KEY)
    wrapped = f"Task 12 of pod [x] failed:\n  {text}\n  (in dependency abc) ]"
    assert ErrorRecord.find(wrapped, KEY) == again
    return again


def travel_error(error, **options):
    options = {"node": "f", "item": 3, **options}
    return travel(record_exception(raised(throw, error), **options)).exception()


# --- exceptions come back -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad x"),
        KeyError("k"),
        OSError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        TwoArguments("job", 7),
        Outer.Inner(1, 2),
        ZeroDivisionError(),
        ImportError("no", name="n", path="p"),
        TaskTimeoutError("mine"),
        AssertionError([1, 2]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_original_type_and_arguments(error):
    back = travel_error(error)
    assert type(back) is type(error)
    assert back.args == error.args
    assert vars(back) == vars(error)
    assert str(back) == str(error)
    assert isinstance(back.__cause__, RemoteTraceback)
    assert back.__cause__.node == "f[3]"
    assert "test_failure.py" in back.__cause__.traceback


def test_attributes_without_arguments():
    back = travel_error(Attributes(reason="rain"))
    assert type(back) is Attributes
    assert str(back) == "because rain"


def test_a_local_class_is_still_caught_by_its_name():
    class Local(ValueError):
        pass

    with pytest.raises(Local, match="mine"):
        raise travel_error(Local("mine"))


def test_a_type_that_cannot_be_pickled():
    back = travel_error(Unpicklable("text"))
    assert type(back) is Unpicklable
    assert str(back) == "text"
    back = travel_error(Unpicklable(n for n in ()))
    assert type(back) is Unpicklable
    assert "generator" in str(back)


def test_a_round_trip_that_changes_the_exception_is_not_trusted():
    back = travel_error(Changing("as it was"))
    assert type(back) is Changing
    assert back.args == ("as it was",)


def test_a_round_trip_that_exits_is_survived():
    assert type(travel_error(Fatal())) is Fatal


def test_a_type_that_is_not_here(monkeypatch, tmp_path):
    (tmp_path / "elsewhere_only.py").write_text("class Gone(Exception):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = importlib.import_module("elsewhere_only").Gone("lost")
    record = travel(record_exception(raised(throw, error), node="f"))
    monkeypatch.delitem(sys.modules, "elsewhere_only")
    (tmp_path / "elsewhere_only.py").unlink()
    importlib.invalidate_caches()
    back = record.exception()
    assert type(back) is RemoteTaskError
    assert back.type_name == "elsewhere_only.Gone"
    assert str(back) == "elsewhere_only.Gone: lost"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1)])
def test_what_would_stop_the_caller_does_not(error):
    back = travel_error(error)
    assert type(back) is RemoteTaskError
    assert back.type_name == type(error).__name__


def test_text_that_cannot_be_made():
    back = travel_error(BadText("x"))
    assert type(back) is BadText
    record = record_exception(raised(throw, BadText("x")), node="f")
    assert "RuntimeError" in record.message
    assert "BadText" in record.summary


def test_each_exception_is_a_new_one():
    record = travel(record_exception(raised(throw, ValueError("x")), node="f"))
    assert record.exception() is not record.exception()


# --- tracebacks -----------------------------------------------------------------------------------


def test_the_traceback_reads_like_pythons():
    def inner():
        raise ValueError("deep")

    def outer():
        inner()

    record = travel(record_exception(raised(outer), node="f", attempts=2))
    back = record.exception(path=["f", "g", "total"], skipped=7)
    cause = back.__cause__
    assert (cause.node, cause.path, cause.skipped, cause.attempts) == (
        "f",
        ["f", "g", "total"],
        7,
        2,
    )
    lines = cause.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-3].endswith(", in inner")
    assert lines[-2] == '    raise ValueError("deep")'
    assert lines[-1] == "ValueError: deep"
    text = str(cause)
    assert "f -> g -> total" in text and "skipped: 7" in text and "2 attempt" in text


def test_frames_of_armoflow_are_left_out(tmp_path):
    from armoflow.codec.pickling import dumps_whole

    class Bad:
        def __reduce__(self):
            return throw(KeyError("inside"))

    error = raised(dumps_whole, Bad()).__cause__
    files = {frame.file for frame in record_exception(error, node="f").frames}
    assert files == {__file__} or not any("/armoflow/codec/" in file for file in files)


def test_what_led_to_it_is_told():
    def handle():
        try:
            throw(KeyError("first"))
        except KeyError as error:
            raise ValueError("second") from error

    def clean():
        try:
            handle()
        finally:
            throw(TypeError("third"))

    text = travel(record_exception(raised(clean), node="f")).exception().__cause__.traceback
    order = [
        "KeyError: 'first'",
        "direct cause",
        "ValueError: second",
        "During",
        "TypeError: third",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_a_suppressed_context_is_not_told():
    def handle():
        try:
            throw(KeyError("hidden"))
        except KeyError:
            raise ValueError("shown") from None

    text = travel(record_exception(raised(handle), node="f")).exception().__cause__.traceback
    assert "hidden" not in text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups")
def test_notes_and_groups():
    error = ValueError("x")
    error.add_note("a remark")
    back = travel_error(error)
    assert back.__notes__ == ["a remark"]
    assert "a remark" in back.__cause__.traceback

    group = ExceptionGroup("many", [raised(throw, KeyError("one")), TypeError("two")])  # noqa: F821
    back = travel_error(group)
    assert type(back) is type(group)
    assert [str(part) for part in back.exceptions] == ["'one'", "two"]
    assert "KeyError: 'one' (" in back.__cause__.traceback


def test_syntax_errors():
    error = raised(compile, "x = (1 +", "given.py", "exec")
    back = travel(record_exception(error, node="f")).exception()
    assert type(back) is SyntaxError
    assert (back.filename, back.lineno) == ("given.py", 1)
    assert 'File "given.py", line 1' in back.__cause__.traceback
    assert "x = (1 +" in back.__cause__.traceback


def test_source_lines_missing_there_are_found_here():
    frame = TraceFrame(__file__, test_syntax_errors.__code__.co_firstlineno, "f", "")
    record = travel(ErrorRecord("raised", "ValueError", "x", [frame], node="f"))
    assert "def test_syntax_errors():" in record.exception().__cause__.traceback


# --- size -----------------------------------------------------------------------------------------


def noise(length):
    """Text that cannot be compressed."""
    import random

    return "".join(random.Random(length).choices([chr(c) for c in range(0x4E00, 0x9000)], k=length))


def test_a_long_message_is_cut_but_the_type_stays():
    back = travel_error(ValueError(noise(100_000)))
    assert type(back) in (ValueError, RemoteTaskError)
    record = travel(record_exception(raised(throw, ValueError(noise(100_000))), node=noise(5000)))
    assert record.type_name == "ValueError"
    assert record.frames
    assert "ValueError" in record.summary


def whole(error, **options):
    """As it travels in a slot, or in the error of an engine that keeps it whole."""
    record = record_exception(raised(throw, error), node="f", **options)
    again = ErrorRecord.decode(record.encode(KEY, WHOLE), KEY)
    text = record.to_text(KEY, "task-1")
    assert ErrorRecord.find(text, KEY) == again
    short = ErrorRecord.find(short_error(text), KEY)
    assert len(short_error(text).encode()) <= config.ERROR_RECORD_LIMIT
    assert short.task_id == ("task-1" if short_error(text) != text else "")
    return again.exception(), short.exception()


BOTH_ENDS = f"the beginning {noise(50_000)} the reason"


def test_a_long_error_is_whole_where_there_is_room():
    error = TwoArguments("n" * 40_000, BOTH_ENDS)
    error.remark = BOTH_ENDS
    back, short = whole(error)
    assert (type(back), back.args, vars(back)) == (TwoArguments, error.args, vars(error))
    assert BOTH_ENDS in back.__cause__.full_text()
    assert type(short) is TwoArguments
    assert str(short).startswith("nnn") and str(short).endswith("the reason")
    assert "more characters" in str(short)
    for text in (short.__cause__.full_text(), str(back.__cause__), str(short.__cause__)):
        assert "the reason" in text
        assert len(text) < 20_000


def test_an_error_that_cannot_be_pickled_keeps_both_ends():
    back, short = whole(Unpicklable(BOTH_ENDS))
    assert type(back) is type(short) is Unpicklable
    assert str(back) == BOTH_ENDS
    assert str(short).endswith("the reason") and str(short).startswith("the beginning")


def test_both_ends_of_what_is_longer_than_anything_kept():
    back, short = whole(ValueError(f"the beginning {'x' * 3_000_000} the reason"))
    for error in (back, short):
        text = error.__cause__.full_text()
        assert "the beginning" in text and "the reason" in text
        assert len(text) <= config.ERROR_MESSAGE_LIMIT + 10_000


@pytest.mark.parametrize("length", [10, 100, 900])
def test_the_root_of_a_chain_is_kept(length):
    def level(n):
        if not n:
            raise KeyError(f"the root {noise(900)}")
        try:
            level(n - 1)
        except Exception as error:
            raise ValueError(f"level {n} {noise(300)}") from error

    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10_000)
        back, short = whole(raised(level, length))
    finally:
        sys.setrecursionlimit(limit)
    for one in (back, short):
        text = one.__cause__.full_text()
        assert text.index("the root") < text.index(f"level {length} ")
        assert "more exceptions]" in text or one is back
    text = back.__cause__.full_text()
    told = [n for n in range(1, length + 1) if f"level {n} " in text]
    assert told == list(range(1, length + 1)) or (len(told) > 300 and "more exceptions]" in text)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups")
def test_parts_of_groups_keep_both_ends_and_their_causes():
    def because(n):
        try:
            throw(OSError(f"root of {n}"))
        except OSError as error:
            raise ValueError(f"part {n} {noise(500)} end of {n}") from error

    parts = [raised(because, n) for n in range(300)]
    inner = ExceptionGroup("inner", parts[:2])  # noqa: F821
    back, short = whole(ExceptionGroup("many", [*parts, inner]))  # noqa: F821
    text = back.__cause__.full_text()
    for n in (0, 1, 299):
        assert f"part {n} " in text and f"end of {n}" in text
        assert f"raised from OSError: root of {n} (" in text
    assert "[201 more exceptions]" in text
    assert "inner (2 sub-exceptions)" in text
    assert len(back.exceptions) == 301
    assert "many (301 sub-exceptions)" in str(short)


def test_a_class_by_value_that_does_not_fit():
    class Big(ValueError):
        table = noise(5000)

    back = travel_error(Big("small"))
    assert type(back) is RemoteTaskError
    assert "small" in str(back)


def test_a_large_attribute_is_dropped_before_the_type():
    error = TwoArguments("n", "c")
    error.payload = noise(50_000)
    back = travel_error(error)
    assert type(back) is TwoArguments
    assert str(back) == "n failed with c"


def test_deep_recursion_keeps_both_ends():
    def down(n):
        return down(n - 1) if n else 1 / 0

    def start():
        down(500)

    record = travel(record_exception(raised(start), node="f"))
    functions = [frame.function for frame in record.frames]
    assert functions[1] == "start" and functions[-1] == "down"
    assert record.frames[-1].source == "return down(n - 1) if n else 1 / 0"
    assert record.omitted > 400
    assert "more frames]" in record.exception().__cause__.traceback


def test_a_long_chain_and_long_paths():
    def level(n):
        try:
            level(n - 1) if n else throw(ValueError(noise(500)))
        except ValueError as error:
            raise ValueError(noise(500 + n)) from error

    record = record_exception(raised(level, 30), node="f", item=10**12)
    for number in range(100):
        record = record.via(f"node{number}")
    record = travel(record)
    assert record.name == f"f[{10**12}]"
    assert not record.path or record.path[-1] == "node99"


TEXT = st.text(max_size=60)
FRAMES = st.lists(st.builds(TraceFrame, TEXT, st.integers(0, 10**6), TEXT, TEXT), max_size=30)


@given(
    st.builds(
        ErrorRecord,
        kind=st.sampled_from(["raised", "timeout", "died", "lost", "skipped", "cancelled"]),
        type_name=TEXT,
        message=TEXT | st.integers(0, 9000).map(noise) | st.text("\ud800\udfffx"),
        frames=FRAMES,
        node=TEXT | st.just(noise(3000)),
        item=st.none() | st.integers(0, 2**60),
        attempts=st.integers(1, 100),
        path=st.lists(TEXT, max_size=30),
        forms=st.lists(
            st.builds(Form, st.sampled_from(["whole", "state"]), st.binary(max_size=5000)),
            max_size=2,
        ),
        detail=TEXT,
        chain=st.lists(
            st.builds(
                Earlier, TEXT | st.just(noise(900)), FRAMES, st.booleans(), st.integers(0, 99)
            ),
            max_size=9,
        ),
    )
)
def test_any_record_fits_and_can_be_read(record):
    again = travel(record)
    assert (again.kind, again.item, again.attempts) == (record.kind, record.item, record.attempts)
    assert len(again.chain) >= min(len(record.chain), 1)


# --- other kinds ----------------------------------------------------------------------------------


def test_timeouts():
    back = travel(record_timeout(1.5, node="f", item=2, attempts=3)).exception()
    assert type(back) is TaskTimeoutError and isinstance(back, TimeoutError)
    assert str(back) == "task 'f[2]' ran longer than its timeout of 1.5 s and was killed"
    assert back.__cause__.attempts == 3
    assert back.__cause__.traceback == ""


def test_deaths():
    output = "\n".join(f"line {n}" for n in range(50))
    back = travel(record_death(-9, node="f", item=2, output=output)).exception()
    assert type(back) is WorkerDiedError
    assert "'f[2]' was killed by SIGKILL" in str(back)
    assert back.__cause__.output == "\n".join(f"line {n}" for n in range(30, 50))
    assert "last output:\n  line 30\n" in str(back.__cause__)
    assert "exited with status 3" in str(travel(record_death(3, node="f")).exception())
    told = str(travel(record_death(3, node="f", host="pod-7")).exception())
    assert "exited with status 3, on host pod-7" in told
    assert "signal 99" in str(travel(record_death(-99, node="f")).exception())


def test_losses_and_cancels():
    back = travel(record_loss("result abc was deleted", node="f")).exception()
    assert type(back) is DataLostError
    assert "result abc was deleted" in str(back)
    back = travel(ErrorRecord("cancelled", "", "task 'f' was cancelled", node="f")).exception()
    assert type(back) is TaskCancelledError


def test_the_readable_line():
    record = record_exception(raised(throw, ValueError("bad x\nmore")), node="f", item=3)
    line = record.to_text().splitlines()[0]
    assert line.startswith("ValueError: bad x ... more in task 'f[3]' (test_failure.py:")


class LeavesWhenShown(ValueError):
    def __str__(self) -> str:
        raise SystemExit(3)


class LeavesWhenPickled(ValueError):
    def __reduce__(self) -> Any:
        raise SystemExit(4)


class LeavesWhenRead(ValueError):
    def __setstate__(self, state: object) -> None:
        raise SystemExit(5)


class LeavesWhenCompared(ValueError):
    def __init__(self) -> None:
        super().__init__(EqualToNothing())


class EqualToNothing:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise SystemExit(6)


@pytest.mark.parametrize(
    "kind", [LeavesWhenShown, LeavesWhenPickled, LeavesWhenRead, LeavesWhenCompared]
)
def test_an_exception_that_ends_its_process_when_it_is_looked_at_is_told(
    kind: type[ValueError],
) -> None:
    """As what it is, and the process goes on."""
    error = kind()
    error.note = "of it"  # type: ignore[attr-defined]
    record = record_exception(error, node="f")
    assert record.type_name.endswith(kind.__name__)
    assert isinstance(record.exception(), (kind, RemoteTaskError))
