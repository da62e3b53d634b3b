"""The batch extension's frames: what a client and the embedded engine say on one stream.

The stream is ``/armoflow.Extension/Connect``, beside the standard services; each message holds any
number of msgpack lists. A request is ``[number, kind, ...]``, its reply ``[number, OK, value]`` or
``[number, REFUSED, code, message, result ids]``; changes come unasked as ``[0, CHANGES, ...]``.

=========  ==========================================================  =========================
kind       request                                                     reply
=========  ==========================================================  =========================
HELLO      protocol version, whether the client shares the machine     ``{"frees_payloads": ...,
                                                                       "staging": ...}``
WATCH      session id                                                  after it, changes come
SUBMIT     session id, results ``[id, name]``, options, tasks          once committed
           ``[id, payload id, dependencies, outputs, options index]``,
           payloads ``[id, bytes]`` or ``[id, [path, size]]``
FETCH      result ids                                                  bytes, ``[path, size]`` or
                                                                       None for each
POLL       result ids                                                  changes
FAILURES   result ids                                                  ``[id, task, status, text]``
DELETE     result ids                                                  once committed
CANCEL     task ids                                                    once committed
=========  ==========================================================  =========================

A SUBMIT creates results, submits tasks and completes payloads in this order, as one change, and may
be repeated: ids are the client's, taken from a random range, so that what exists is recognised.
Storing data is a SUBMIT without tasks. A change is ``[id, status, size, data, failure, seconds
that the task ran]``, None where there is nothing to say. Large data of a client on the same
machine goes through files: it writes into the directory ``staging``, and the engine takes the file
over, or refuses it with DATA_LOSS if it is not there (any more). Elsewhere it goes through
UploadResultData and DownloadResultData.
"""

from __future__ import annotations

from enum import IntEnum

METHOD = "/armoflow.Extension/Connect"
SERVICE = "armoflow.Extension"
VERSION = 1


class Kind(IntEnum):
    """Second element of a frame."""

    OK = 0
    REFUSED = 1
    CHANGES = 2
    HELLO = 3
    WATCH = 4
    SUBMIT = 5
    FETCH = 6
    POLL = 7
    FAILURES = 8
    DELETE = 9
    CANCEL = 10


OUTPUT_PREFIX = "o/"
"""Names of expected outputs start so: of these, changes are told."""

WANTED_PREFIX = "o/w/"
"""Names of outputs that the client will fetch: small ones come along with their change."""

CHILD_PREFIX = "c/"
"""Names of results inside an expansion start so."""

PAYLOAD_PREFIX = "p/"

PASSING_PREFIXES = (OUTPUT_PREFIX, CHILD_PREFIX, PAYLOAD_PREFIX)
"""Results that are on the way to other tasks, unless they are wanted: nobody waits for the news."""
