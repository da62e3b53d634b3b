import functools
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from armoflow import config
from armoflow.codec.functions import CodeCache, ModuleBundle, encode_function
from armoflow.codec.modules import decode_bundle, is_user_module
from armoflow.codec.references import code_imports
from armoflow.errors import EnvelopeError, SerializationError

WORKER = """
import pickle, sys
from armoflow.codec.functions import CodeCache
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import dumps, loads
cache = CodeCache()
modules, function, arguments = pickle.load(sys.stdin.buffer)
if modules is not None:
    cache.install_modules(*modules)
function = cache.function(*function)
args, kwargs = loads(Pickled(arguments))
result = dumps(function(*args, **kwargs))
sys.stdout.buffer.write(result.data)
"""

CLIENT = f"""
import pickle, subprocess, sys
from armoflow.codec.functions import ModuleBundle, encode_function
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import dumps, loads
WORKER = {WORKER!r}
def remote(function, *args, **kwargs):
    encoded = encode_function(function)
    names = set(encoded.modules)
    arguments = dumps((args, kwargs), None, names)
    bundle = ModuleBundle()
    bundle.add(names)
    work = bundle.encode(), (encoded.digest, encoded.data), arguments.data
    done = subprocess.run([sys.executable, "-c", WORKER], input=pickle.dumps(work),
                          stdout=subprocess.PIPE, check=True, cwd="/")
    return loads(Pickled(done.stdout))
"""


def run(tmp_path, main, *flags, **files):
    """Run a project's main program, which runs functions in another process with ``remote``."""
    for name, text in files.items():
        path = tmp_path / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    (tmp_path / "client_support.py").write_text(CLIENT)
    (tmp_path / "main.py").write_text("from client_support import remote\n" + textwrap.dedent(main))
    done = subprocess.run(
        [sys.executable, *(flags or ["main.py"])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def here(function, *args):
    """Encode and load in this process, and call."""
    encoded = encode_function(function)
    return CodeCache().function(encoded.digest, encoded.data)(*args)


# --- by value -------------------------------------------------------------------------------------


def test_lambdas_closures_recursion():
    step = 3
    assert here(lambda x: x + step, 1) == 4

    def factorial(n):
        return 1 if n == 0 else n * factorial(n - 1)

    assert here(factorial, 5) == 120


def test_other_callables():
    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return self.n + x

        def method(self, x):
            return self.n * x

        @classmethod
        def make(cls, n):
            return cls(n).n

        @staticmethod
        def twice(x):
            return 2 * x

    assert here(Adder(1), 2) == 3
    assert here(Adder(3).method, 2) == 6
    assert here(Adder.make, 2) == 2
    assert here(Adder.twice, 2) == 4
    assert here(Adder, 2).n == 2
    assert here(functools.partial(Adder(3).method, 5)) == 15
    assert here(functools.partial(divmod, 7), 2) == (3, 1)
    assert here(len, "abc") == 3
    assert here("{}!".format, 1) == "1!"
    assert here(np.add, 1, 2) == 3


def test_the_digest_follows_the_code_and_what_it_captures():
    def make(scope):
        exec("def f(x):\n    return x + y", scope)
        return encode_function(scope["f"])

    first = make({"__name__": "__main__", "y": 1})
    assert first == make({"__name__": "__main__", "y": 1})
    assert first.digest != make({"__name__": "__main__", "y": 2}).digest
    scope = {"__name__": "__main__", "y": 1}
    exec("def f(x):\n    return x - y", scope)
    assert encode_function(scope["f"]).digest != first.digest


def test_cached_functions():
    calls = []

    @functools.lru_cache(maxsize=7)
    def fibonacci(n):
        calls.append(n)
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert here(fibonacci, 30) == 832040
    assert here(lambda: fibonacci.cache_parameters()["maxsize"]) == 7
    assert here(fibonacci.__wrapped__, 20) == 6765
    assert not calls  # copies ran


def test_large_captured_data():
    table = np.arange(100_000.0)
    assert here(lambda i: table[i], 7) == 7.0


def test_what_cannot_be_pickled_is_named():
    lock = threading.Lock()
    with pytest.raises(SerializationError, match=r"lock \(closure variable 'lock' of function"):
        encode_function(lambda: lock)
    scope = {"__name__": "__main__", "lock": lock}
    exec("def f():\n    return lock", scope)
    with pytest.raises(SerializationError, match=r"lock \(global 'lock' of function 'f'\)"):
        encode_function(scope["f"])


def test_imports_in_a_function_are_seen():
    scope = {"__name__": "pack.age.main", "__package__": "pack.age"}
    source = """
    def f():
        import a.b
        from . import c
        from ..d import e, g
        def inner():
            from .h import i
        return 1
    """
    exec(textwrap.dedent(source), scope)
    assert set(code_imports(scope["f"])) == {
        *("a.b", "pack.age", "pack.age.c", "pack.d", "pack.d.e", "pack.d.g"),
        *("pack.age.h", "pack.age.h.i"),
    }


def test_which_modules_are_the_users():
    for name in ["json", "numpy", "numpy.linalg", "armoflow.errors", "sys", "nowhere.to.be.found"]:
        assert not is_user_module(name), name
    assert is_user_module(__name__)


class Boxed:
    def __init__(self, content):
        self.content = content


def box(content):
    return Boxed(content * 2)


def test_functions_and_classes_of_a_test_module():
    import pickle

    encoded = encode_function(box)
    assert encoded.modules == {__name__}
    bundle = ModuleBundle()
    bundle.add(encoded.modules)
    work = bundle.encode(), (encoded.digest, encoded.data), pickle.dumps(((4,), {}))
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=pickle.dumps(work),
        stdout=subprocess.PIPE,
        check=True,
        cwd="/",
        timeout=100,
    )
    back = pickle.loads(done.stdout)
    assert type(back) is Boxed and back.content == 8


# --- projects -------------------------------------------------------------------------------------


def test_a_project_of_two_files(tmp_path):
    out = run(
        tmp_path,
        """
        import helper
        from helper import Point, move
        print(remote(move, Point(1, 2)).x)
        print(isinstance(remote(move, Point(1, 2)), Point))
        print(remote(lambda p: helper.move(p).y, Point(1, 2)))
        print(remote(lambda: __import__("helper").FACTOR))
        """,
        helper="""
        from deeper import FACTOR
        class Point:
            def __init__(self, x, y):
                self.x, self.y = x, y
        def move(point):
            assert type(point) is Point
            import latest
            return Point(point.x * FACTOR, latest.change(point.y))
        """,
        deeper="FACTOR = 10",
        latest="def change(y):\n    return -y",
    )
    assert out.split() == ["10", "True", "-2", "10"]


def test_a_class_of_main_keeps_its_identity(tmp_path):
    out = run(
        tmp_path,
        """
        class Point:
            def __init__(self, x):
                self.x = x
        def move(point):
            assert type(point) is Point
            return Point(point.x + 1)
        if __name__ == "__main__":
            result = remote(move, Point(1))
            print(type(result) is Point, result.x)
        """,
    )
    assert out == "True 2"


PACKAGE = {
    "shop__init": "",
    "shop__tools__names": "from ..base import BASE\ndef name(x):\n    return f'{BASE}{x}'",
    "shop__base": "BASE = 'b'",
}


def package(tmp_path):
    (tmp_path / "shop" / "tools").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text("from . import base\nVERSION = 7\n")
    (tmp_path / "shop" / "base.py").write_text("BASE = 'b'\n")
    (tmp_path / "shop" / "tools" / "__init__.py").write_text("")
    (tmp_path / "shop" / "tools" / "names.py").write_text(
        "from ..base import BASE\n"
        "from .. import VERSION\n"
        "def name(x):\n"
        "    from . import late\n"
        "    return f'{BASE}{VERSION}{x}{late.END}'\n"
    )
    (tmp_path / "shop" / "tools" / "late.py").write_text("END = '!'\n")


def test_a_package_with_relative_imports(tmp_path):
    package(tmp_path)
    out = run(tmp_path, "from shop.tools.names import name\nprint(remote(name, 'x'))")
    assert out == "b7x!"


def test_a_main_program_inside_a_package(tmp_path):
    package(tmp_path)
    (tmp_path / "shop" / "program.py").write_text(
        "from client_support import remote\n"
        "def work(x):\n"
        "    from .tools import names\n"
        "    return names.name(x)\n"
        "if __name__ == '__main__':\n"
        "    print(remote(work, 'y'))\n"
    )
    assert run(tmp_path, "", "-m", "shop.program") == "b7y!"


def test_a_namespace_package(tmp_path):
    out = run(
        tmp_path,
        "from space.inner import f\nprint(remote(f))",
        space__inner="def f():\n    from space.other import g\n    return g()",
        space__other="def g():\n    return 'ns'",
    )
    assert out == "ns"


def test_decorated_functions_of_a_module_are_found_by_reference(tmp_path):
    out = run(
        tmp_path,
        """
        import helper
        print(remote(helper.f.__wrapped__, 3))
        print(remote(helper.g.function, 3))
        """,
        helper="""
        import functools, threading
        from armoflow.graph.task import Task
        LOCK = threading.Lock()
        def traced(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper
        @traced
        @functools.lru_cache
        def f(x):
            with LOCK:
                return x + 1
        def plain(x):
            with LOCK:
                return x + 2
        g = Task(plain, name="g")
        """,
    )
    assert out.split() == ["4", "5"]


def test_a_module_registered_by_value_stays_so(tmp_path):
    out = run(
        tmp_path,
        """
        import cloudpickle, helper
        from armoflow.codec.functions import encode_function
        cloudpickle.register_pickle_by_value(helper)
        helper.FACTOR = 5  # captured, which a source is not
        print(remote(helper.f, 2))
        """,
        helper="FACTOR = 1\ndef f(x):\n    return x * FACTOR",
    )
    assert out == "10"


def test_modules_of_arguments_travel(tmp_path):
    out = run(
        tmp_path,
        "from shapes import Circle\nprint(remote(len, [Circle(1), Circle(2)]))\n"
        "print(remote(lambda circle: circle.area(), Circle(2)))",
        shapes="from sizes import PI\nclass Circle:\n    def __init__(self, r):\n"
        "        self.r = r\n    def area(self):\n        return PI * self.r ** 2",
        sizes="PI = 3",
    )
    assert out.split() == ["2", "12"]


# --- a worker that lives --------------------------------------------------------------------------


@pytest.fixture
def cache():
    cache = CodeCache()
    yield cache
    cache.clear()


class Project:
    """A directory of modules, bundled and encoded in a process of its own."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, **files):
        for name, text in files.items():
            (self.directory / f"{name}.py").write_text(textwrap.dedent(text))

    def encode(self, expression):
        program = (
            "import sys, pickle\nsys.dont_write_bytecode = True\n"
            "from armoflow.codec.functions import *\n"
            f"import {expression.partition('.')[0]}\n"
            f"encoded = encode_function({expression})\nbundle = ModuleBundle()\n"
            "bundle.add(encoded.modules)\n"
            "sys.stdout.buffer.write(pickle.dumps((encoded, bundle.encode())))"
        )
        import pickle

        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            check=True,
            timeout=100,
        )
        return pickle.loads(done.stdout)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def call(cache, work, *args):
    encoded, modules = work
    cache.install_modules(*modules)
    return cache.function(encoded.digest, encoded.data)(*args)


def test_edited_code_is_never_stale(project, cache):
    project.write(edited_a="from edited_b import g\ndef f():\n    return g()")
    project.write(edited_b="def g():\n    return 1")
    old = project.encode("edited_a.f")
    assert call(cache, old) == 1
    project.write(edited_b="def g():\n    return 2")
    new = project.encode("edited_a.f")
    assert old[0].digest == new[0].digest
    assert old[1][0] != new[1][0]
    assert call(cache, new) == 2
    # Tasks of before the change may still come.
    assert call(cache, (old[0], (old[1][0], None))) == 1
    assert call(cache, (new[0], (new[1][0], None))) == 2


def test_a_bundle_that_only_grows_keeps_what_is_loaded(project, cache):
    project.write(grown_a="STATE = []\ndef f():\n    STATE.append(1)\n    return len(STATE)")
    project.write(grown_b="import grown_a\ndef g():\n    return grown_a.f()")
    assert call(cache, project.encode("grown_a.f")) == 1
    assert call(cache, project.encode("grown_b.g")) == 2
    assert call(cache, project.encode("grown_a.f")) == 3


def test_installing_again_does_nothing(project, cache):
    project.write(again_a="def f():\n    return 1")
    work = project.encode("again_a.f")
    assert cache.missing_modules(work[1][0]) and cache.missing(work[0].digest)
    call(cache, work)
    assert not cache.missing_modules(work[1][0]) and not cache.missing(work[0].digest)
    module = sys.modules["again_a"]
    call(cache, (work[0], (work[1][0], None)))
    assert sys.modules["again_a"] is module
    cache.clear()
    assert "again_a" not in sys.modules


def test_tracebacks_show_the_source_that_ran(project, cache):
    import traceback

    project.write(traced_a="def f():\n    raise ValueError('x')  # as submitted")
    work = project.encode("traced_a.f")
    project.write(traced_a="# edited since\n\n\n")
    with pytest.raises(ValueError) as caught:
        call(cache, work)
    text = "".join(traceback.format_exception(caught.value))
    assert "raise ValueError('x')  # as submitted" in text
    assert str(project.directory / "traced_a.py") in text
    assert sys.modules["traced_a"].__file__ == str(project.directory / "traced_a.py")


def test_a_module_that_cannot_be_imported_says_so(project, cache):
    project.write(broken_a="import json\ndef f():\n    import broken_b\n")
    project.write(broken_b="import broken_c")
    project.write(broken_c="import no_such_module_anywhere")
    with pytest.raises(ModuleNotFoundError) as caught:
        call(cache, project.encode("broken_a.f"))
    message = str(caught.value)
    assert "No module named 'no_such_module_anywhere'" in message
    assert "module 'broken_c'" in message and "installed where the worker runs" in message
    assert message.count("imported by") == 1


def test_functions_are_forgotten_in_order():
    functions = [encode_function(lambda x, n=n: x + n + len(b"x" * 1000)) for n in range(4)]
    cache = CodeCache(limit=3 * config.LOADED_CODE_LEAST)
    for encoded in functions[:3]:
        cache.function(encoded.digest, encoded.data)
    cache.function(functions[0].digest)
    cache.function(functions[3].digest, functions[3].data)
    missing = [cache.missing(encoded.digest) for encoded in functions]
    assert missing == [False, True, False, False]
    with pytest.raises(LookupError):
        cache.function(functions[1].digest)
    same = cache.function(functions[0].digest)
    assert cache.function(functions[0].digest) is same


def test_small_functions_count_for_what_is_loaded_of_them():
    encoded = [encode_function(lambda x, n=n: x + n) for n in range(50)]
    assert max(len(one.data) for one in encoded) < config.LOADED_CODE_LEAST
    cache = CodeCache(limit=10 * config.LOADED_CODE_LEAST)
    for one in encoded:
        cache.function(one.digest, one.data)
    assert sum(not cache.missing(one.digest) for one in encoded) == 10


def test_unknown_or_damaged_bundles(cache):
    with pytest.raises(LookupError):
        cache.install_modules("unknown")
    with pytest.raises(EnvelopeError):
        cache.install_modules("damaged", b"\x92\x01\xc4\x01x")
    with pytest.raises(EnvelopeError):
        decode_bundle(b"anything")


# --- the bundle of a client that lives ------------------------------------------------------------


def test_what_is_bundled_is_what_runs(tmp_path, monkeypatch):
    import importlib

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "living_a.py"
    path.write_text("X = 1\ndef f():\n    import living_b\n")
    other = tmp_path / "living_b.py"
    other.write_text("Y = 1\n")
    import living_a

    bundle = ModuleBundle()
    bundle.add(encode_function(living_a.f).modules)
    first = bundle.encode()
    assert set(decode_bundle(first[1]).sources) == {"living_a", "living_b"}
    assert bundle.encode() is first

    path.write_text("X = 22\nimport living_c\ndef f():\n    import living_b\n")
    (tmp_path / "living_c.py").write_text("Z = 1\n")
    assert bundle.encode() == first  # this process still runs the old one
    importlib.reload(living_a)
    second = bundle.encode()
    assert second[0] != first[0]
    assert set(decode_bundle(second[1]).sources) == {"living_a", "living_b", "living_c"}

    other.write_text("Y = 22\n")  # never imported here: what is on disk is what counts
    assert "22" in decode_bundle(bundle.encode()[1]).sources["living_b"].text
    for name in ("living_a", "living_c"):
        monkeypatch.delitem(sys.modules, name)


def test_what_armoflow_needs_is_nobodys_own_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory on PYTHONPATH holds the user's own modules, and may hold installed ones."""
    program = (
        "from armoflow.codec.modules import is_user_module as own; import cloudpickle;"
        "print(own('cloudpickle'), own('cloudpickle.cloudpickle'), own('mine'), cloudpickle.here)"
    )
    (tmp_path / "mine.py").write_text("")
    real = Path(cloudpickle.__file__).parent
    shutil.copytree(real, tmp_path / "cloudpickle")
    with (tmp_path / "cloudpickle" / "__init__.py").open("a") as file:
        file.write("\nhere = True\n")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}")
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["False", "False", "True", "True"]
