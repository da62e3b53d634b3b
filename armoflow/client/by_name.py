"""What a client does by names: values that were put, and runs that go on without it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from armoflow.client.client_options import check_run
from armoflow.client.habits import NOT_AWAITED
from armoflow.errors import OptionError
from armoflow.foreign_keywords import ONE_NAME, refuse_arguments

if TYPE_CHECKING:
    from armoflow.client.backend import Backend
    from armoflow.client.future import Future
    from armoflow.client.put import Put

T = TypeVar("T")


class ByName:
    """The part of a client that is about what the engine has under names."""

    def _opened(self) -> Backend:
        """What it runs graphs on, if it is not closed."""
        raise NotImplementedError

    def close(self) -> None:
        """End it."""
        raise NotImplementedError

    # --- values ---------------------------------------------------------------------------------

    def put(
        self,
        value: T,
        *further: NoReturn,
        name: str | None = None,
        replace: bool = False,
        **others: NoReturn,
    ) -> Put[T]:
        """Upload a value once, for many tasks; or under a name, for other clients too.

        What has a name is in the engine, not in this client's session: it is there until
        :meth:`forget`, another ``put(..., replace=True)`` or, on an engine with a retention, so
        long after it was put. On a private engine it goes with the client.

        Args:
            value: Anything that can be pickled.
            further: There is one value only; its name is a keyword argument.
            name: What :meth:`get` finds it by.
            replace: It takes the place of what has that name.
            others: There are none.

        Returns:
            A reference: give it to tasks in place of the value.

        Raises:
            NamedValueError: If something has that name already.

        Example:
            >>> from armoflow import Client, task
            >>> with Client(local=True) as client:
            ...     table = client.put({"whale": 1}, name="table")
            ...     client.get("table"), client.compute(task(len)(table))
            ({'whale': 1}, 1)
        """
        backend = self._opened()
        refuse_arguments("put", ("name", "replace"), others, further, "write name=... for a name")
        if name is None and replace is False:
            return backend.put(value)
        checked = check_run(name, replace, kind="value")
        return backend.put_named(value, checked, replace=replace)

    def get(self, name: str, *further: NoReturn, **others: NoReturn) -> Any:
        """The value that was put under a name, by this client or another one.

        It is unpickled: that runs code of whoever could write to the engine.

        Args:
            name: What :meth:`put` was given.
            further: There is one name only.
            others: There are none.

        Raises:
            NamedValueError: If nothing has that name, or has no more.
        """
        backend = self._opened()
        refuse_arguments("get", (), others, further, ONE_NAME)
        if not isinstance(name, str):
            remedy = (
                "for lazy values write client.compute(lazy), for futures client.gather(futures)"
            )
            if isinstance(name, Coroutine):
                remedy = NOT_AWAITED
            raise OptionError(
                f"get() takes the name that a value was put under, not a {type(name).__name__}: "
                f"{remedy}"
            )
        return backend.get(check_run(name))

    def refer(self, name: str, *further: NoReturn, **others: NoReturn) -> Put[Any]:
        """A reference to what was put under a name: give it to tasks, without downloading it.

        Args:
            name: What :meth:`put` was given.
            further: There is one name only.
            others: There are none.

        Raises:
            NamedValueError: If nothing has that name, or has no more.
        """
        backend = self._opened()
        refuse_arguments("refer", (), others, further, ONE_NAME)
        return backend.refer(check_run(name))

    def forget(self, name: str, *further: NoReturn, **others: NoReturn) -> None:
        """Remove what was put under a name; no task may need it any more.

        Args:
            name: What :meth:`put` was given.
            further: There is one name only.
            others: There are none.

        Raises:
            NamedValueError: If nothing has that name, or has no more.
        """
        backend = self._opened()
        refuse_arguments("forget", (), others, further, ONE_NAME)
        backend.forget(check_run(name))

    # --- runs -----------------------------------------------------------------------------------

    def attach(self, name: str, *further: NoReturn, **others: NoReturn) -> Future[Any]:
        """The future of a named run, whoever has begun it: while it runs, or after.

        What its client had laid out and not submitted is submitted. What that had not planned when
        it ended is lost: the graph is submitted again for it, by the same name.

        Args:
            name: The run's name.
            further: There is one name only.
            others: There are none.

        Returns:
            What ``submit(graph, name=name)`` gave; if the plan is not whole, it says so.

        Raises:
            NamedRunError: If there is no such run.
        """
        backend = self._opened()
        refuse_arguments("attach", (), others, further, ONE_NAME)
        return backend.attach(check_run(name))

    def resume(self, name: str, *further: NoReturn, **others: NoReturn) -> Future[Any]:
        """The future of a named run of which what failed runs again, from what the engine has.

        The code and the arguments are those of then, and nothing that ended well runs again. What
        the engine has no payload of cannot be run so: a warning names it. Where the code, or the
        graph, is another one now, submit that by the same name.

        Args:
            name: The run's name.
            further: There is one name only.
            others: There are none.

        Returns:
            What :meth:`attach` gives, of a run that goes on.

        Raises:
            NamedRunError: If there is no such run.
        """
        backend = self._opened()
        refuse_arguments("resume", (), others, further, ONE_NAME)
        return backend.resume(check_run(name))

    def detach(self) -> list[str]:
        """Leave: named runs are laid out whole, and go on; all else ends, as with :meth:`close`.

        Returns:
            The names of the runs that go on.

        Raises:
            OptionError: If the engine is a private one, which ends with this client.
        """
        backend = self._opened()
        names = backend.detach()
        self.close()
        return names
