"""Programs that end in good order, and have left their client open."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.scripts import PATIENCE, Place
from tests.faults.test_signals import sessions_under_way
from tests.integration.engines import EMBEDDED, STOCK, Up


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tmp")


@pytest.fixture(scope="module", params=[EMBEDDED, STOCK], ids=["embedded", "stock"])
def engine(request: pytest.FixtureRequest, engine_with: Callable[..., Up]) -> Up:
    return engine_with(*request.param)


def output_of(place: Place, code: str, *arguments: str) -> tuple[str, str]:
    """What a script prints and complains of; nothing is left of it."""
    with place.run(code, *arguments, stdin=subprocess.DEVNULL) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    place.wait_until_clean()
    return output, errors


ELSEWHERE = {
    "a process": """
        process = context.Process(target=lambda: print(compute(1), flush=True))
        process.start()
        process.join()
    """,
    "an executor": """
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            print(executor.submit(compute, 1).result())
    """,
    "a pool": """
        pool = context.Pool(1)
        print(pool.apply(compute, (1,)))
        pool.close()
        pool.join()
    """,
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_session_ends_with_a_process_of_multiprocessing(
    place: Place, engine: Up, kind: str
) -> None:
    """Such a process knows no ``atexit``."""
    code = """
        import multiprocessing, os, sys
        from armoflow import task
        os.environ["ARMOFLOW_ENDPOINT"] = sys.argv[1]
        context = multiprocessing.get_context("fork")
        increment = task(lambda number: number + 1)

        def compute(number):
            return increment(number).compute()
    """
    output, errors = output_of(place, code + ELSEWHERE[kind], engine.endpoint)
    assert output == "2\n", errors
    assert not sessions_under_way(engine)


LATE = {
    "no client": "import threading",
    "a client that is closed by then": "print(increment(1).compute())",
}


@pytest.mark.parametrize("before", LATE)
def test_a_client_that_would_start_too_late_says_so(place: Place, before: str) -> None:
    code = f"""
        import atexit
        from armoflow import task
        increment = task(lambda number: number + 1)

        def compute():
            try:
                increment(2).compute()
            except RuntimeError as error:
                print(type(error).__name__, str(error).partition(",")[0])

        atexit.register(compute)
        {LATE[before]}
    """
    output, errors = output_of(place, code)
    assert output.splitlines()[-1] == "ClientClosedError this process is ending", errors
    assert not errors


def test_a_function_of_atexit_computes_with_a_client_that_was_there_before(place: Place) -> None:
    code = """
        import atexit
        from armoflow import Client, task
        client = Client(workers=1)
        atexit.register(lambda: print(client.compute(task(lambda: "computed")())))
    """
    assert output_of(place, code) == ("computed\n", "")
