"""``@task``: options, signatures, calls, pickling."""

from __future__ import annotations

import functools
import operator
import pickle
import subprocess
import sys
import textwrap

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.errors import CollectionError, GraphError, OptionError, SignatureError
from armoflow.graph.collection import DelayedList
from armoflow.graph.context import (
    INSIDE_TASK,
    compute,
    current_client,
    enter,
    find_current,
    leave,
)
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CallNode
from armoflow.graph.task import MultiTask, Task, as_task, task
from armoflow.options import TaskOptions


@task
def train(table: list[int], *, depth: int = 3) -> int:
    """Train a model."""
    return sum(table) * depth


@task(retries=2, timeout=60, name="loader")
def load(path: str) -> str:
    return path


@task(outputs=2)
def split(number: int) -> tuple[int, int]:
    return divmod(number, 10)


def test_a_task_looks_like_its_function() -> None:
    assert train.__name__ == train.name == "train"
    assert train.__doc__ == "Train a model."
    assert train.local([1, 2], depth=2) == 6
    assert train.outputs == 1
    assert repr(train) == "<Task train>"


def test_options() -> None:
    assert load.name == "loader"
    assert load.task_options.retries == 2
    changed = load.with_options(priority=4, retries=0)
    kept = changed.task_options
    assert (kept.priority, kept.retries, kept.timeout) == (4, 0, 60)
    assert load.task_options.priority is None
    assert changed.name == "loader"
    assert load.with_options(name="other").name == "other"
    assert changed("a").node.options is changed.task_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retrys": 1}, "did you mean 'retries'"),
        ({"retries": -1}, "an integer from 0"),
        ({"outputs": 0}, "outputs must be"),
        ({"outputs": True}, "outputs must be"),
        ({"outputs": 10**30}, "outputs must be at most 100000, not 10.*: return a list instead"),
        ({"name": ""}, "name must be"),
        ({"name": 5}, "name must be a non-empty string, not 5"),
        ({"name": "\ud800"}, r"name must be printable text on one line, not '\\ud800'"),
        ({"name": "a\nb"}, "name must be printable"),
    ],
)
def test_wrong_options_fail_where_they_are_written(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        task(**options)  # type: ignore[call-overload]
    if "outputs" not in options:
        with pytest.raises(OptionError, match=message):
            load.with_options(**options)  # type: ignore[arg-type]


def test_a_call_is_lazy() -> None:
    delayed = train([1], depth=2)
    assert isinstance(delayed, Delayed)
    assert isinstance(delayed.node, CallNode)
    assert delayed.node.args == ([1],)
    assert delayed.node.kwargs == {"depth": 2}
    assert delayed.node.task is train


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing a required argument: 'table'"),
        (([1], 2), {}, "too many positional arguments"),
        (([1],), {"dept": 2}, "unexpected keyword argument 'dept'"),
        (([1],), {"table": []}, "multiple values for argument 'table'"),
    ],
)
def test_arguments_are_checked_when_called(args: tuple, kwargs: dict, message: str) -> None:
    with pytest.raises(SignatureError, match=f"task 'train': .*{message}.*signature is train"):
        train(*args, **kwargs)


def test_keyword_only_arguments_are_required() -> None:
    strict = task(lambda a, *, b: a)
    with pytest.raises(SignatureError, match="'b'"):
        strict(1)
    strict(1, b=2)


def test_functions_without_signature_are_not_checked() -> None:
    assert isinstance(task(max)(1, 2, 3, 4), Delayed)
    assert isinstance(task(dict)(self=1), Delayed)


def test_maps_are_checked_too() -> None:
    with pytest.raises(SignatureError, match="'dept'"):
        train.map([[1]], dept=2)
    with pytest.raises(SignatureError, match="too many"):
        train.map([[1]], [2])
    with pytest.raises(SignatureError, match="not 5"):
        train.map(5)
    with pytest.raises(SignatureError, match="at least one iterable"):
        train.map()
    with pytest.raises(SignatureError, match="'dept'"):
        train.starmap([([1],)], dept=2)
    with pytest.raises(SignatureError, match="<lambda>"):
        train.map([[1]]).reduce(lambda a: a)
    with pytest.raises(SignatureError):
        train.map([[1]]).filter(lambda: True)


def test_several_outputs() -> None:
    assert isinstance(split, MultiTask)
    tens, ones = split(42)
    assert tens.node is ones.node
    assert (tens.output, ones.output) == (0, 1)
    many = split.map([1, 2])
    assert len(many) == 2
    assert all(isinstance(part, DelayedList) for part in many)
    first, second = train.map([[1]]).map(split)
    assert first.node is second.node
    with pytest.raises(GraphError, match="one output"):
        first.filter(split)


def test_what_is_no_task() -> None:
    with pytest.raises(GraphError, match="already"):
        task(train)
    with pytest.raises(GraphError, match="made of a function"):
        task(5)  # type: ignore[call-overload]


def test_names() -> None:
    assert task(functools.partial(operator.add, 1)).name == "add"
    assert task(operator.itemgetter(0)).name == "itemgetter"
    assert as_task(train) is train
    assert as_task(operator.add).name == "add"


def test_a_lazy_value_says_that_it_is_lazy() -> None:
    delayed: object = train([1])
    for attempt in (
        bool,
        list,
        len,
        int,
        float,
        lambda value: value + 1,
        lambda value: 1 + value,
        lambda value: -value,
        lambda value: value < 1,
        lambda value: value == 1,
        lambda value: value[0],
        lambda value: value in {1: 2}.values(),
        range,
        pickle.dumps,
        cloudpickle.dumps,
    ):
        with pytest.raises(GraphError, match=r"lazy.*\.compute\(\)"):
            attempt(delayed)  # type: ignore[operator]
    with pytest.raises(AttributeError, match="lazy"):
        delayed.columns  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(GraphError, match=r"outputs=n.*map"):
        _first, _second = delayed  # type: ignore[misc]


def test_lazy_values_are_hashed_by_identity() -> None:
    one, two = train([1]), train([1])
    assert one == one
    assert one != two
    assert len({one, two, one}) == 2


def test_importable_tasks_are_pickled_by_reference() -> None:
    assert pickle.loads(pickle.dumps(train)) is train


def test_other_tasks_are_pickled_by_value() -> None:
    offset = 10

    @task(retries=3, name="recursive")
    def count(number: int) -> object:
        return offset if number == 0 else count(number - 1)

    copied = pickle.loads(cloudpickle.dumps(count))
    assert isinstance(copied, Task)
    assert (copied.name, copied.task_options.retries) == ("recursive", 3)
    assert copied.local(0) == 10
    inner = copied.local(1)
    assert inner.node.task.local(0) == 10


def test_a_recursive_task_of_a_script_can_be_pickled(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import pickle, cloudpickle
            from armoflow.graph.task import task

            @task
            def down(number):
                return 0 if number == 0 else down(number - 1)

            data = cloudpickle.dumps(down), cloudpickle.dumps(down.function)
            del down
            first, second = map(pickle.loads, data)
            assert first.local(0) == second(0) == 0
            assert second(1).node.task.local(0) == 0
            """
        )
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)


class Recorder:
    def compute(
        self, *values: object, timeout: float | None = None, return_exceptions: bool = False
    ) -> object:
        return values


def test_compute_uses_the_current_client() -> None:
    token = current_client.set(Recorder())
    try:
        delayed = train([1])
        assert delayed.compute() == (delayed,)
        many = train.map([[1]])
        assert many.compute() == (many,)
        assert compute(delayed, many) == (delayed, many)
    finally:
        current_client.reset(token)


@given(st.permutations(range(4)))
def test_clients_may_be_left_in_any_order(order: list[int]) -> None:
    """As fixtures of several scopes leave them; the innermost is the current one."""
    recorders = [Recorder() for _ in range(4)]
    outers = [enter(recorder) for recorder in recorders]
    entered = list(recorders)
    for number in order:
        leave(recorders[number], outers[number])
        entered.remove(recorders[number])
        assert find_current() is (entered[-1] if entered else None)
    assert current_client.get() is None


def test_compute_inside_a_task_is_refused() -> None:
    token = current_client.set(INSIDE_TASK)
    try:
        with pytest.raises(GraphError, match="return the Delayed"):
            train([1]).compute()
    finally:
        current_client.reset(token)


def test_plain_functions_may_be_combined() -> None:
    many = train.map([[1]])
    assert many.reduce(operator.add).node.name == "add"
    assert many.map(str).node.name == "str"
    with pytest.raises(OptionError, match="fan_in"):
        many.reduce(operator.add, fan_in=1)
    with pytest.raises(CollectionError):
        len(many.filter(bool))


def test_importing_the_graph_is_light() -> None:
    code = "import sys, armoflow.graph.task; print({'networkx', 'numpy', 'grpc'} & {*sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("option", ["retry_on", "on_failure"])
def test_a_function_that_cannot_take_an_exception_is_named(option: str) -> None:
    def of_two(first: object, second: object) -> bool:
        return first is second

    told = rf"{option} is called with the exception: .*of_two.*first"
    with pytest.raises(OptionError, match=told):
        TaskOptions(**{option: of_two})


@pytest.mark.parametrize("option", ["retry_on", "on_failure"])
def test_a_function_that_is_to_be_awaited_is_named(option: str) -> None:
    """What it returns would count as "yes", and be awaited by nobody."""

    async def asks(error: Exception) -> bool:
        return bool(error.args)

    with pytest.raises(OptionError, match=f"{option} is called, and not awaited: .*asks"):
        TaskOptions(**{option: asks})


def test_a_function_whose_name_cannot_be_written_has_one_that_can() -> None:
    """Names go into frames, journals and pictures."""

    def function() -> None: ...

    function.__name__ = "half a \ud83d"
    assert task(function).name == "half a ?"
    function.__name__ = ""
    assert task(function).name == "function"
