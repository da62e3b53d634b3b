"""Every number and path that can be tuned, in one place, with its reason."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# --- messages: what one of them may hold --------------------------------------------------------

INLINE_DATA_LIMIT = 64 * KIB
"""Bytes of a result up to which it travels inside messages; larger ones go through files."""

MESSAGE_LIMIT = 4 * MIB
"""gRPC's default receive limit, which agents and many deployments keep."""

CHUNK_BYTES = 2 * MIB
"""Upload chunk where the engine does not say; its own default (GetServiceConfiguration)."""

ID_LIMIT = 200
"""Bytes of an id: it becomes the name of a file, which may have 255."""

TEXT_LIMIT = 16 * KIB
"""Characters of a name, and of each text among task options."""

STATUS_TEXT_LIMIT = 1500
"""Characters of the text beside a gRPC status: it travels in a header of at most 8 KiB."""

OPTIONS_COUNT = 1000
"""Entries of the map that task options may carry for the user's own purposes."""

OPTIONS_TEXT = 256 * KIB
"""Characters of these entries, keys and values, all together."""

ENV_COUNT = 4_096
"""Variables that a task may set: for each the system goes through all that are set already."""

ENV_TEXT = 1 * MIB
"""Characters of their names and values: with more, no process could be started in the task."""

DURATION_LIMIT = 315_576_000_000.0
"""Seconds that a duration may have: ten thousand years, as Protocol Buffers define it."""

FRAME_ENTRIES = 100_000
"""Entries of one list in a frame."""

FRAME_ASKED = 10_000
"""Results or tasks that one frame asks about."""

FRAME_TASKS = 1_000
"""Tasks in one frame: twice what a client submits at once."""

FRAME_RESULTS = 5_000
"""Results, and payloads, in one frame: the engine makes them in one go, in some 20 ms."""

REQUEST_LIMIT = 256 * MIB
"""Bytes of one message to the engine; more data than that is uploaded in chunks."""

CALL_LIMIT = 8 * MIB
"""Bytes of a message of a call that carries no data: twice what ArmoniK's services take."""

CALL_PARTS = 500_000
"""Entries of all lists of such a message."""

CALLS_OF_CONNECTION = 200
"""Calls and event streams that one connection to an engine carries at once, the others wait for
these at their client: twice what servers of ArmoniK.Core's kind carry."""

STREAM_MESSAGE = 16 * MIB
"""Bytes of requests after which a client begins another message on its stream."""

LANE_ENTRIES = 4 * 1024 * 1024
"""Entries of all lists and maps of a message of a child process, and tasks of a graph, at most."""

LANE_MESSAGE_LIMIT = 1024 * MIB
"""Bytes of one message of a child process."""

# --- connections and transfers ------------------------------------------------------------------

CONNECT_TIMEOUT = 10.0
"""Seconds that an engine has to answer for the first time."""

ENGINE_PATIENCE = 120.0
"""Seconds without an answer before an engine counts as gone: it may be restarting."""

END_PATIENCE = 5.0
"""The same before ending a session is given up: nobody waits for a value."""

KEEPALIVE_SECONDS = 20.0
"""Seconds between an engine's pings, and for their answer: a peer that vanished is noticed then."""

SILENCE_BEFORE_RECONNECT = 30.0
"""Seconds without any frame, with requests unanswered, before a stream is opened anew."""

SPOOL_LIMIT = 16 * MIB
"""Bytes of a download up to which it is in memory; larger ones are in a file, and mapped."""

BYTES_FETCHED = 64 * MIB
"""Bytes of results being downloaded at once: over a distance many small ones, or few large ones."""

TRANSFERS = 80
"""Results being uploaded or downloaded at once over a connection, by calls of their own: it carries
about a hundred calls, and others must not wait behind these."""

LINES = 6
"""Connections that data goes over at most: a cluster's proxy has some thousands for all."""

LINE_SECONDS = 0.02
"""Seconds of a round trip for each of which one connection more is worth while: near an engine one
carries all that a client can take."""

# --- code and arguments -------------------------------------------------------------------------

INLINE_CODE_BUDGET = 64 * KIB
"""Bytes of one piece of code that ride in payloads before it is stored as a result of its own."""

INLINE_FUNCTION_LIMIT = 16 * KIB
"""Bytes of a pickled function up to which it rides in each payload; larger: uploaded once."""

SHARED_ARGUMENT_LIMIT = 64 * KIB
"""Bytes of an argument used by several tasks above which it is uploaded once."""

SHARED_BUFFER_LIMIT = 1 * MIB
"""Bytes of binary data inside arguments (an array, ``bytes``, a file) from which on it is known by
its content and uploaded once for all that a session sends: a call more, and 0.6 ms for a digest."""

SHARED_DATA_MET = 10_000
"""Pieces of data from ``SHARED_ARGUMENT_LIMIT`` up to that of which it is known that a call has
taken them: the next one refers to what is stored then."""

SHARED_DATA_KEPT = 2048 * MIB
"""Bytes of such data that stay in the engine though no task needs them just now."""

OUT_OF_BAND_LIMIT = 64 * KIB
"""Bytes of an array or of binary data from which it is not copied into the pickle around it."""

LOADED_ANEW_LIMIT = 64 * KIB
"""Bytes of a pickle, its arrays not counted, up to which it is loaded for each call of a task."""

CODE_CACHE_BYTES = 64 * MIB
"""Bytes of pickled functions that a worker's process keeps loaded."""

LOADED_CODE_LEAST = 5 * KIB
"""Bytes that a function counts for among these at least: about what is loaded of a small one."""

CODE_BOOK_BYTES = 64 * MIB
"""Bytes of pickled functions that a session remembers to have sent, and keeps stored."""

SENT_CODE_LEAST = 2 * KIB
"""The same among those that a session remembers."""

CODE_CACHE_GENERATIONS = 4
"""Versions of the user's modules that a worker's process keeps loaded, to switch between them."""

LIVE_DATA_LIMIT = 1 * MIB
"""Bytes up to which what a module computed when it was imported travels as it is at the client."""

# --- plans: what becomes one task ---------------------------------------------------------------

BATCH_VALUE_BYTES = 16 * MIB
"""Bytes of the values that the items of one batch of a collection make: they are one result."""

BUNDLE_TASKS = 32
"""Tasks that share a payload at most, where the engine can tell when it is needed no more."""

BUNDLE_BYTES = 16 * KIB
"""Bytes of the arguments in it, and of the ids of inputs, about: a process that runs one of the
tasks gets all of it."""

BUNDLES_KEPT = 16
"""Shared payloads that a process keeps, the last ones: tasks of several run in turns."""

MAXIMUM_INPUTS = 1000
"""Inputs of one task; more go through gathering tasks (Process holds every dependency id)."""

MAXIMUM_STEPS = 1000
"""Steps of a chain that become one task: its payload, and what a lost agent costs, stay bounded."""

HANDED_ON_STEPS = 3
"""Steps of a chain that have returned a graph, with what follows them, before the rest becomes a
task of its own: in a recursion each level would plan anew what all levels above have left to do."""

LATE = 4
"""How many times as long as it should a task runs before it gives away what it has not begun."""

PROBES = 16
"""Tasks with which a kind of work begins at most, until it is known how long it takes: a cluster of
a thousand pods is not given a thousand tiny tasks to find out."""

UNKNOWN_PODS = 16
"""Pods that a partition is taken to have if the engine does not say."""

ITERATION_WINDOW = 10_000
"""Items that an iteration's plan may be ahead of who takes them."""

# --- graphs that tasks return -------------------------------------------------------------------

INLINE_SECONDS = 0.02
"""Seconds for which the graph that a task returns is begun in the process that returned it, on the
embedded engine: a task of its own costs a call about half a millisecond there."""

CLUSTER_INLINE_SECONDS = 0.25
"""The same under the worker service: a task of its own costs a call 15 to 90 ms."""

INLINE_OVERTIME = 0.25
"""The part of these seconds for which calls are begun after them that end soon and whose inputs are
there already: what is nearly done shall not need another task."""

INLINE_LONGER = 6.0
"""For how many times these seconds longer it goes on while no other process of the embedded engine
is free. Not for so long that no task would be sent ahead any more: ``armoflow.worker.prefetch``."""

INLINE_SHARED = 0.002
"""Seconds of calls that are not begun there if another process is free, and has something to do
meanwhile: a few times what a task costs."""

TASK_SECONDS = 100e-6
"""What a task costs its process besides the calls that it makes."""

INLINE_CALL_SECONDS = 50e-6
"""What it costs to make a call there, whatever it does."""

INLINE_ITEMS = 1000
"""Items of a collection that is run there at most; more go in batches, whose items cost less."""

INLINE_LIMIT = 10.0
"""Seconds that may be said for it at most: less than ``DURATION_MARGIN``."""

# --- submitting ---------------------------------------------------------------------------------

BATCH_BYTES = 1 * MIB
"""Bytes of data in one CreateResults call: well below MESSAGE_LIMIT, replies count too."""

BATCH_TASKS = 500
"""Tasks in one SubmitTasks call."""

BATCH_LINKS = 10_000
"""Inputs and outputs of these, all together, from which on no more go into the call."""

RESULTS_AT_ONCE = 2_000
"""Results that one frame creates: of tasks that bring more, most go before them."""

BATCHES_IN_FLIGHT = 4
"""Batches of tasks being submitted at once on a stream."""

CALLS_IN_FLIGHT = 8
"""The same by calls, each of which takes two round trips, however far away the engine is."""

COLLECTING = 0.01
"""Seconds in which tasks are collected while others are being submitted, where that takes calls: a
submission costs a cluster about as much, whatever is in it."""

TASKS_QUEUED = 2_000
"""Planned tasks that wait to be submitted: a plan that is ahead waits for the engine."""

ITEMS_QUEUED = 200_000
"""Items of planned tasks that wait to be submitted: the client holds them as objects, too."""

BYTES_QUEUED = 64 * MIB
"""Bytes of planned payloads that wait to be submitted."""

TASKS_UNDER_WAY = 40_000
"""Tasks that were submitted and have not ended: what client and engine hold of them, some 2.4 KB
for each, stays bounded, and an engine that ends 10,000 a second has some seconds' worth. The others
wait in the plan, where an item costs what it is."""

QUEUED_SECONDS = 2.0
"""Seconds of work that a client keeps queued in a partition of a cluster."""

# --- watching -----------------------------------------------------------------------------------

SILENCE_BEFORE_RESYNC = 5.0
"""Seconds without any event, with work outstanding, before results are listed again."""

RESYNC_RESULTS = 2_000
"""Open results that are listed after a silence: a bounded question."""

LOOKS = (0.05, 0.3, 1.0)
"""Seconds after subscribing at which open results are listed: updates may be missed until then."""

LATE_PATIENCE = 30.0
"""Seconds in which what an event has told is read again: the event may come before its row."""

EXPLAIN_DELAY = 0.02
"""Seconds in which news of aborted results is collected before the engine is asked for reasons."""

STALL_SECONDS = 10.0
"""Seconds without the end of a task after which it is told what is waited for."""

STALL_REPEAT = 60.0
"""Seconds after which it is told again, at most."""

BACKUP_SHARE = 0.75
"""The part of a node's tasks that have ended before another one counts as a straggler."""

BACKUP_QUANTILE = 0.9
"""Of what they took, the quantile that tells what is slow."""

BACKUP_FACTOR = 2.0
"""How many times as long a straggler runs."""

BACKUP_LEAST = 0.5
"""Seconds that it runs at least: a copy costs some milliseconds, and a worker's time."""

BACKUP_QUIET = 2.0
"""Seconds without the end of any of the node's tasks, in which fewer of them are enough."""

BACKUP_INTERVAL = 0.25
"""Seconds between two looks for stragglers, while there may be some."""

BACKUP_SAMPLE = 1_000
"""Tasks of a node whose durations are remembered, the last ones."""

# --- freeing ------------------------------------------------------------------------------------

RELEASE_DELAY = 0.1
"""Seconds in which results that nobody needs any more are collected before they are deleted."""

RELEASE_BYTES = 16 * MIB
"""Bytes of results that nobody needs any more for which they are deleted at once."""

UNSETTLED_BYTES = 256 * MIB
"""Bytes that nobody needs but a retry, should there be one: a plan that is ahead waits for them to
be freed."""

SETTLE_DELAY = 0.5
"""Seconds in which ended tasks are collected before it is asked whether they are over for good."""

SETTLE_INTERVAL = 0.25
"""Seconds between two such questions, unless there is a whole batch to ask for."""

SETTLE_PATIENCE = 60.0
"""Seconds after which what a task that is not over needs holds up no plan any more."""

FAILED_PAYLOADS = 1_000
"""Failed tasks of a session whose payloads are read at its end, to find the code and the constants
that they name; where there are more, all that is stored of these stays."""

END_SECONDS = 5.0
"""Seconds that tasks of an ending session get to be over, before they are cancelled."""

# --- the cache ----------------------------------------------------------------------------------

CACHE_BATCH = 500
"""Results that are imported, or told of, in one call."""

CACHE_MAKINGS = 1000
"""Of how many keys of a task it is kept what they were made of: of the newest."""

CACHE_RECIPES = 32
"""Of so many results of a task it is kept what they can be computed again from: of the newest."""

CACHE_RECIPES_TAKEN = 8
"""Results of a task of which a client takes it down: the first ones; of n more, 8 times log n."""

CACHE_RECIPE_BYTES = 64 * KIB
"""Bytes of a payload with its constants, and of small inputs, up to which it is taken down."""

CACHE_RECIPE_MODULES = 4 * MIB
"""Bytes of the user's modules up to which they are kept for it, once for all that have them."""

CACHE_LIMIT = 10 * 1024 * MIB
"""Bytes that a cache may have, where nobody says: a disk has several times as many."""

CACHE_SHARE_KEPT = 0.9
"""Of this limit so much is left when something has to go: not each new value shall remove one."""

CACHE_SPARED = 3600.0
"""Seconds for which what was used is spared, whatever the limit: it may be in use still."""

CACHE_PATIENCE = 7 * 24 * 3600.0
"""Seconds after which a result is not expected any more: its client was killed, its session is
gone."""

CACHE_DEPARTED = 100_000
"""Of how many values that are not kept any more it is known why: of the newest to go."""

CACHE_INDEX_BYTES = 64 * MIB
"""Bytes of the index that are kept in memory: keys are random, and a million take 130 MB."""

CACHE_ENTRIES_ASKED = 500
"""Keys in one query of the index: SQLite takes 999 variables, or more."""

# --- tasks: their time, their errors ------------------------------------------------------------

MAXIMUM_DURATION = 7 * 24 * 3600.0
"""max_duration, in seconds, of a task without timeout; no timeout can be longer."""

MAXIMUM_PAUSE = 24 * 3600.0
"""Seconds that an item waits for its next attempt at most: some fit into a task's duration."""

DURATION_MARGIN = 30.0
"""Seconds added to a computed max_duration for starting and storing."""

SHORTEST_PAUSE = 0.01
"""Seconds before a retry for which a worker is given to other tasks: to be put aside and sent again
costs about a millisecond in all."""

PROGRESS_BYTES = 64 * MIB
"""Bytes of finished items that a task may keep while it waits for a retry outside of a worker."""

ERROR_RECORD_LIMIT = 4 * KIB
"""Bytes of an error in an ArmoniK task's text: engines copy it into every transitive dependent."""

KEPT_ERRORS_LIMIT = 16 * KIB
"""Bytes of the errors of failed items that are kept with the log of the task that ran them."""

ERROR_COPY_LIMIT = 64 * KIB
"""Bytes of an error in the slot of an item that was skipped because of it: there may be many."""

ERROR_MESSAGE_LIMIT = 1 * MIB
"""Bytes of an error's message, and of what led to it, where the whole error is kept."""

ERROR_TASK_BYTES = 16 * MIB
"""Bytes of whole errors in the slots of one task; those of further items are short."""

ERROR_TEXT_LIMIT = 2 * MIB
"""Characters of a task's error, whoever reports it; of a longer one both ends are kept."""

# --- what tasks write ---------------------------------------------------------------------------

OUTPUT_LINES, OUTPUT_LINE = 20, 200
"""Lines of an item's output that its error tells, and characters of each of them."""

OUTPUT_BYTES_READ = 64 * KIB
"""Bytes of a worker process's output that its owner reads at once: then others have their turn."""

OUTPUT_BYTES_KEPT = 8 * MIB
"""Bytes of a worker process's output that may wait for their reader; of more the oldest are left
out. Tasks never wait for anybody to read what they write."""

PRINTER_BYTES = 4 * MIB
"""Bytes of lines that wait for who reads a worker's standard output, before new ones are left out:
tasks do not wait for a reader."""

OUTPUT_FILE_BYTES = 8 * MIB
"""Bytes of the file in which an engine keeps what a session's tasks have written; one older file of
that size is kept beside it."""

OUTPUT_RATE = 1_000
"""Lines of tasks' output that a client is told in a second; of more it is told how many."""

OUTPUT_WAITING = 4 * MIB
"""Bytes that wait for a client that reads slowly, from which on it is told no output of tasks."""

WRITTEN_BYTES = 256 * KIB
"""Characters of what a task has written that a worker stores for its client; the newest."""

WRITTEN_PAUSE = 0.25
"""Seconds between two looks for what tasks of a cluster have written."""

WRITTEN_PATIENCE = 2.0
"""Seconds that values wait at most for what their tasks have written to be read from a cluster."""

# --- worker processes ---------------------------------------------------------------------------

WORKERS_LIMIT = 4096
"""Worker processes that one engine may be asked to start: more are a slip of the pen."""

FETCHED_BYTES = 256 * MIB
"""Bytes of code and constants that a worker process keeps between tasks."""

CACHES_SHARE = 8
"""What a worker process keeps between tasks is at most this part of its container's memory."""

SPARE_MEMORY = 256 * MIB
"""Memory of a container from which on a warm spare process is worth its own (11 MiB)."""

MEMORY_MARGIN = 16, 16 * MIB, 128 * MIB
"""What must be left of a container's memory, or the process that takes most of it is ended: this
part, but at least, and at most. The kernel would end the container, with worker and agent."""

MEMORY_LEAST = 64 * MIB
"""The least that a task's ``memory`` may be: a worker process has some 15 to 40 MiB of its own."""

MEMORY_MOST = 1024**5
"""The most that it may be: more than machines have."""

MEMORY_PACE = 4 * 1024 * MIB
"""Bytes that a process takes in a second at most, about: the nearer it is to its limit, the sooner
it is looked at again."""

INSTALL_SECONDS = 1800.0
"""Seconds that requirements may take to be installed; added to the max_duration of their tasks."""

INSTALL_AGAIN = 30.0
"""Seconds for which it is known that requirements could not be installed: many tasks may ask for
the same."""

ENVIRONMENTS_LIMIT = 10 * 1024 * MIB
"""Bytes that virtual environments on a worker take, after which those go that were used longest
ago; never one in use."""

ENVIRONMENTS_AGE = 30 * 24 * 3600.0
"""Seconds after which one that nobody used goes."""

PARKED_PROCESSES = 4
"""Processes that wait for tasks of their environment, while others run: each keeps what it has
imported."""

FETCH_PATIENCE = 5.0
"""Seconds for which a worker asks its agent again for data that it cannot get: its row may be late,
its file open elsewhere."""

FIRST_FETCH_PAUSE, LAST_FETCH_PAUSE = 0.01, 1.0
"""Seconds between these questions; doubles each time."""

WORKER_GRACE = 20.0
"""Seconds for which ``armoflow worker`` serves on after SIGTERM, unless its agent ends before: more
than the agent grants its task (15), less than a pod has (30). ``ARMOFLOW_GRACE`` overrides it."""

# --- engines and their clients ------------------------------------------------------------------

MAX_PRIORITY = 10
"""Highest priority that the queues of stock clusters take."""

CLIENT_LEASE = 3600.0
"""Seconds that the client of a session may be away: longer than a network is usually, shorter than
left data is a nuisance."""

RETENTION = 86_400.0
"""Seconds that ended sessions stay: as on clusters, so that what failed at night can be looked at
in the morning."""

ENDING_SECONDS = 5.0
"""Seconds that TERM or HUP give a client to end its sessions, before the process dies of them."""

ROOM = 256 * MIB
"""Bytes on the disk of a lasting state that new work leaves free: what a deletion may take to be
written is the journal's log, and as much of its tables."""

DEFAULT_LISTEN = "127.0.0.1:5001"
"""Where `armoflow up` listens and commands look, unless they are told: ArmoniK's own port."""

DASHBOARD_LISTEN = "127.0.0.1:5080"
"""Where the dashboard is served, unless it is told."""

METRICS_HOST = "127.0.0.1"
"""Where an engine's metrics are found, unless it is told."""

CLIENT_FILES = 24
"""Files that a client of an engine has open: its loop's, its connection's."""

ENGINE_FILES = 36
"""Files that an engine has open beside those of its workers: a journal, clients, a spare worker."""

WORKER_FILES = 4
"""Files that the owner of a worker process has open for it."""

WORKER_SERVICE_FILES = 32
"""Files that a worker service has open, those of its process and of a spare one among them."""
