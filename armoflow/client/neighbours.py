"""What other libraries call things, and what to write here instead."""

OF_CLIENTS = {
    "shutdown": "client.close()",
    "disconnect": "client.close()",
    "scatter": "client.put(value)",
    "persist": "client.submit(lazy)",
    "remote": "client.submit(function, ...)",
    "apply": "client.submit(function, ...)",
    "apply_async": "client.submit(function, ...)",
    "imap": "client.map(function, iterable)",
    "starmap": "client.submit(task.starmap(tuples))",
    "result": "client.compute(lazy), or client.gather(futures)",
    "wait": "client.gather(futures), or concurrent.futures.wait(futures)",
    "run": "client.compute(lazy)",
    "cancel": "future.cancel() for each of them",
    "who_has": "future.done()",
    "ncores": "client.workers",
    "nthreads": "client.workers",
    "restart": "client.close(), and make a new one",
}
"""Methods of their clients and executors, and what to call instead."""

OF_MAPS = {
    "chunksize": "task.with_options(batch_size=...)",
    "chunk_size": "task.with_options(batch_size=...)",
    "buffersize": "client.as_completed(task.map(iterable)), which runs only so far ahead",
    "ordered": "client.as_completed(futures) for the order in which they end",
}
"""What other maps take beside the function's own arguments, and what to write instead."""

OF_FUTURES = {
    "status": "done(), running(), cancelled(), or exception()",
    "state": "done(), running(), cancelled(), or exception()",
    "key": "name",
    "get": "result()",
    "wait": "result()",
    "ready": "done()",
    "successful": "exception() is None",
    "traceback": "exception().__cause__",
    "release": "result(), or let go of the future: its data goes with the last reference",
    "retry": "result(), and give the task retries=... to have it tried again",
    "then": "add_done_callback(function), or give the future to another task",
    "compute": "result()",
}
"""Of futures elsewhere, and what a future has here."""

OF_PACKAGES = {
    "delayed": "task",
    "remote": "task",
    "python_app": "task",
    "function": "task",
    "LocalCluster": "Client(workers=...)",
    "init": "Client(...)",
    "get": "compute(lazy)",
    "gather": "Client().gather(futures)",
    "as_completed": "Client().as_completed(futures)",
    "wait": "Client().gather(futures)",
    "put": "Client().put(value)",
    "persist": "Client().submit(lazy)",
    "from_sequence": "items(iterable)",
    "map": "Client().map(function, iterable), or task.map(iterable)",
    "submit": "Client().submit(function, ...)",
}
"""Of other packages, and what this one has."""
