"""What users of other libraries write: it works, or the error says what to write."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import armoflow
from armoflow import Client, items, options, task
from armoflow.errors import GraphError, OptionError, SignatureError


@task
def double(number: int) -> int:
    return 2 * number


# --- what a task is made of -----------------------------------------------------------------------


def test_a_method_is_refused_where_it_is_decorated() -> None:
    with pytest.raises(GraphError, match=r"Tools\.work' is a method.*outside of the class"):

        class Tools:
            @task
            def work(self, number: int) -> int:
                return number


def test_a_class_method_is_refused() -> None:
    with pytest.raises(GraphError, match="'work' is a class method"):

        class Tools:
            @task  # type: ignore[arg-type]
            @classmethod
            def work(cls, number: int) -> int:
                return number


def test_static_methods_and_functions_in_the_body_of_a_class_are_tasks() -> None:
    class Tools:
        @task
        @staticmethod
        def one(number: int) -> int:
            return number + 1

        @staticmethod
        @task
        def two(number: int) -> int:
            return number + 2

        @task
        def three(number: int) -> int:  # type: ignore[misc]
            return number + 3

    assert [Tools.one.local(0), Tools().two.local(0), Tools.three.local(0)] == [1, 2, 3]
    assert Tools.one(Tools.two(1)).node.name == "one"


def test_generator_functions_are_refused() -> None:
    async def ticks() -> AsyncIterator[int]:
        yield 1

    def numbers() -> Iterator[int]:
        yield 1

    for function, says in (
        (ticks, "generator function"),
        (numbers, "generator function, whose value cannot be stored: return a list"),
    ):
        with pytest.raises(GraphError, match=says):
            task(function)  # type: ignore[call-overload]
    assert task(outputs=2)(numbers).outputs == 2


def test_anything_else_that_is_called_is_a_task() -> None:
    class Adder:
        def __call__(self, number: int) -> int:
            return number + 1

        def bound(self, number: int) -> int:
            return number + 2

    for function, name in (
        (len, "len"),
        (functools.partial(pow, 2), "pow"),
        (operator.itemgetter(1), "itemgetter"),
        (dict, "dict"),
        (Adder(), "Adder"),
        (Adder().bound, "bound"),
        (lambda number: number, "<lambda>"),
    ):
        assert task(function).name == name  # type: ignore[operator]
    with pytest.raises(GraphError, match="made of a function, not of 3"):
        task(3)  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="is a task already"):
        task(double)


# --- what a task is asked for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("remote", r"write task\(\.\.\.\): a call is lazy"),
        ("delay", r"write task\(\.\.\.\)"),
        ("submit", r"write client.submit\(task"),
        ("apply_async", r"write client.submit\(task"),
        ("compute", r"write task\(\.\.\.\)\.compute\(\): call it first"),
        ("result", r".*call it first"),
        ("reduce", r"write items\(iterable\)"),
    ],
)
def test_methods_of_other_tasks(name: str, remedy: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}': {remedy}"):
        getattr(double, name)


def test_options_of_a_call_as_in_ray() -> None:
    changed = double.options(retries=2, name="twice")
    assert (changed.name, changed.task_options.retries) == ("twice", 2)
    assert double.task_options.retries is None
    with pytest.raises(OptionError, match="did you mean 'retries'"):
        double.options(retrys=2)  # type: ignore[call-arg]


# --- what a lazy value is asked for ---------------------------------------------------------------


@pytest.mark.parametrize("lazy", [double(1), double.map([1]), items([1]).filter(double)])
def test_lazy_values_are_no_futures(lazy: Any) -> None:
    with pytest.raises(AttributeError, match=r"'result': it is lazy .* client.submit\(it\)"):
        lazy.result()
    with pytest.raises(AttributeError, match="'shape': it is lazy"):
        _ = lazy.shape

    async def wait() -> None:
        await lazy

    with pytest.raises(GraphError, match=r"await client\.submit\(it\)"):
        asyncio.run(wait())


def test_a_value_is_neither_true_nor_iterated_nor_measured() -> None:
    value = double(1)
    for wrong in (bool, iter, list, len, int):
        with pytest.raises(GraphError, match="lazy and has no value yet"):
            wrong(value)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("num_returns", r"write outputs=\.\.\."),
        ("retry", r"write retries=\.\.\."),
        ("nout", r"write outputs=\.\.\."),
        ("pure", "write cache=True"),
        ("retry_backoff", r"write backoff=\.\.\."),
        ("num_cpus", r"write cpus=\.\.\."),
        ("executors", r"write partition=\.\.\."),
        ("resources", r"write cpus=\.\.\., memory=\.\.\. and gpus=\.\.\."),
        ("runtime_env", r"write requirements=\.\.\., and env=\.\.\."),
        ("pip", r"write requirements=\.\.\."),
        ("env_vars", r"write env=\.\.\."),
        ("concurrency", r"write limits="),
        ("scheduling_strategy", r"write partition=\.\.\."),
    ],
)
def test_options_of_other_libraries_are_told(name: str, says: str) -> None:
    for make in (task, double.options, double.with_options):
        with pytest.raises(OptionError, match=f"unknown option '{name}': {says}"):
            make(**{name: 2})  # type: ignore[call-overload, arg-type, operator]


@pytest.mark.parametrize("make", [options, Client])
def test_what_is_one_tasks_own_is_no_option_of_a_block_or_client(make: Any) -> None:
    with (
        pytest.raises(
            OptionError, match=r"outputs is one task's own: write @task\(outputs=\.\.\.\)"
        ),
        make(outputs=2),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("n_jobs", r"Client\(workers=\.\.\.\)"),
        ("scheduler", "the client of the `with` block runs it"),
        ("retries", r"task\.with_options\(retries=\.\.\.\)"),
        ("timout", "did you mean 'timeout'"),
        ("strange", r"it takes timeout=\.\.\."),
    ],
)
def test_arguments_that_compute_has_elsewhere_are_told(name: str, says: str) -> None:
    value, many = double(1), double.map([1])
    for compute in (value.compute, many.compute, functools.partial(armoflow.compute, value)):
        call: Any = compute
        with pytest.raises(
            SignatureError, match=rf"compute\(\) has no argument '{name}': .*{says}"
        ):
            call(**{name: 2})
    with pytest.raises(SignatureError, match=r"visualize\(\) .* write path=\.\.\."):
        value.visualize(filename="graph.svg")  # type: ignore[arg-type]


def test_what_comes_first_is_named_where_items_are_combined() -> None:
    combine: Any
    for combine in (double.map([1]).reduce, double.map([1]).fold):
        for arguments, named in (((0,), {}), ((), {"start": 0}), ((), {"initializer": 0})):
            with pytest.raises(SignatureError, match=r"write initial=\.\.\."):
                combine(max, *arguments, **named)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("spawn", r"write client\.submit\(task\(\.\.\.\)\)"),
        ("invoke", r"write client\.submit\(task\(\.\.\.\)\)"),
        ("map_invoke", r"write task\.map\(iterable\)"),
        ("tail", r"write return task\(\.\.\.\)"),
        ("remote", r"write task\(\.\.\.\): a call is lazy"),
        ("delay", r"write task\(\.\.\.\): a call is lazy"),
    ],
)
def test_how_tasks_are_called_elsewhere_is_told(name: str, says: str) -> None:
    with pytest.raises(AttributeError, match=f"a Task has no attribute '{name}': {says}"):
        getattr(double, name)


@pytest.mark.parametrize("name", ["result", "results", "outcome", "persist", "status", "then"])
def test_a_lazy_value_is_not_taken_for_a_future(name: str) -> None:
    for lazy in (double(1), double.map([1])):
        with pytest.raises(AttributeError, match=r"Its value is \.compute\(\), and client\.submit"):
            getattr(lazy, name)


def test_what_calls_and_maps_take_elsewhere_is_told() -> None:
    double: Any = task(lambda number: 2 * number, name="double")
    plus: Any = task(lambda first, second: first + second, name="plus")
    with pytest.raises(SignatureError, match=r"'wait_for'; .*double\(number\): a task runs after"):
        double(1, wait_for=[double(2)])
    with pytest.raises(SignatureError, match=r"'plus' is mapped over one iterable .*starmap\(\)"):
        plus.map([(1, 2), (3, 4)])
    plus.map([1, 2], second=3), plus.starmap([(1, 2), (3, 4)])
