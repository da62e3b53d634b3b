"""ArmoniK's web interface at work: its requests, made by a page in a browser over gRPC-Web."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import networkx
import pytest
from admin_gui import TABLES, Call, about_session, histogram, lists, start
from armonik.client import ArmoniKResults, ArmoniKSessions
from serving import serve, task_options

from armoflow import Client, task
from armoflow.engine.address import Address
from armoflow.protocol.permissions import all_permissions
from tests.dashboard.browser import CHROMIUM, browse, site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

SCRIPT = """<pre id="told">waiting</pre><script>
const calls = CALLS, replies = [];

// The pieces of a text reply end with padding where the engine flushed; whole messages are counted.
function count(text) {
  const pieces = (text.slice(0, text.length & ~3).match(/[^=]+={0,2}/g) ?? []).map(atob);
  const bytes = pieces.join("");
  let found = 0;
  for (let at = 0; at + 5 <= bytes.length; found++) {
    let size = 0;
    for (let i = 1; i < 5; i++) size = size * 256 + bytes.charCodeAt(at + i);
    at += 5 + size;
    if (at > bytes.length) break;
  }
  return found;
}

async function call([path, body, most]) {
  const leaving = new AbortController();
  const reply = await fetch("URL" + path, {
    method: "POST", body, signal: leaving.signal,
    headers: {"content-type": "application/grpc-web-text", "accept": "application/grpc-web-text",
              "x-grpc-web": "1", "x-user-agent": "grpc-web-javascript/0.1"},
  });
  let text = "";
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    text += value;
    if (most && count(text) >= most) { leaving.abort(); break; }
  }
  return [reply.status, text];
}

async function work(next) {
  for (let i = next(); i < calls.length; i = next()) replies[i] = await call(calls[i]);
}

let taken = 0;
const workers = [1, 2, 3, 4].map(() => work(() => taken++));
Promise.all(workers).then(() => JSON.stringify(replies), error => "failed: " + error)
  .then(told => {
    const place = document.getElementById("told");
    place.textContent = told;
    place.className = "done";
  });
</script>"""


class Reply:
    """What a call was answered."""

    def __init__(self, call: Call, status: int, text: str) -> None:
        self.status = status
        pieces = re.findall("[^=]+={0,2}", text)
        data = b"".join(base64.b64decode(piece) for piece in pieces if len(piece) % 4 == 0)
        self.messages: list[Any] = []
        self.trailers = ""
        while len(data) >= 5:
            flags, size = struct.unpack_from(">BI", data)
            frame, data = data[5 : 5 + size], data[5 + size :]
            if flags & 0x80:
                self.trailers = frame.decode()
            elif len(frame) == size:
                self.messages.append(call.read(frame))

    @property
    def well(self) -> bool:
        return self.status == 200 and "grpc-status: 0" in self.trailers


@task
def shift(number: int) -> int:
    return number + 1


@task
def add(left: int, right: int) -> int:
    return left + right


@task
def expand(number: int) -> Any:
    return add(shift(number), shift(number))


@task
def fail(number: int, after: int) -> int:
    raise ValueError(number)


def work(client: Client) -> None:
    """Tasks with dependencies, with children, and one that fails."""
    assert client.compute(shift.map(range(4)).reduce(add), expand(1)) == (10, 4)
    with pytest.raises(ValueError, match="5"):
        before = shift(1)  # nothing still runs when it fails
        client.compute(add(fail(5, before), before))


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[tuple[Call, Reply]]]:
    """What the interface asks, and what it is answered; the session that is looked at."""
    directory = tmp_path_factory.mktemp("pages")
    state = tmp_path_factory.mktemp("state")
    where = Address(host="127.0.0.1")
    with (
        site(directory) as origin,
        serve(state, web=where, web_origins=(origin,), workers=1) as serving,
    ):
        url = serving.server.address.url
        with Client(url, batch_size=1, fuse=False, inline_seconds=0) as client:
            work(client)
        (session,) = serving.server.engine.state.sessions
        other = ArmoniKSessions(serving.channel).create_session(task_options())
        ArmoniKResults(serving.channel).create_results({"data": b"x"}, other)
        calls = [*start(), *lists(), *about_session(session), *details(serving, session)]
        assert serving.server.web is not None
        asked = [(call.path, base64.b64encode(framed(call)).decode(), call.most) for call in calls]
        script = SCRIPT.replace("CALLS", json.dumps(asked)).replace("URL", serving.server.web.url)
        (directory / "index.html").write_text(script)
        told = browse(f"{origin}/")
    assert told.startswith("["), told
    replies = json.loads(told)
    return session, [
        (call, Reply(call, *reply)) for call, reply in zip(calls, replies, strict=True)
    ]


def framed(call: Call) -> bytes:
    return struct.pack(">BI", 0, len(call.body)) + call.body


def details(serving: Any, session: str) -> Iterator[Call]:
    """Single objects, the graph, and histograms, of what is there."""
    state = serving.server.engine
    results = serving.run(
        state.queries.results((), sort="id", descending=False, page=0, page_size=100)
    )
    tasks = serving.run(state.queries.tasks((), sort="id", descending=False, page=0, page_size=100))
    for one in tasks.items[:3]:
        yield Call("task", "Tasks/GetTask", {"taskId": one.id})
    yield Call("task", "Tasks/GetResultIds", {"taskId": [one.id for one in tasks.items]})
    for one in results.items[:3]:
        yield Call("result", "Results/GetResult", {"resultId": one.id})
    yield Call("partition", "Partitions/GetPartition", {"id": "default"})
    known = len(tasks.items) + sum(one.session_id == session for one in results.items)
    yield Call("graph", "Events/GetEvents", {"sessionId": session}, most=known)
    ends = sorted(one.ended_at for one in tasks.items if one.ended_at)
    middle = [f"{seconds:.3f}" for seconds in ends[2:-2:2]]
    for name in ("CREATED_AT", "ENDED_AT"):
        dates = [rfc3339(float(text)) for text in middle]
        yield from histogram(
            session, "tasks", f"TASK_SUMMARY_ENUM_FIELD_{name}", "filterDate", dates
        )
    for name in ("CREATION_TO_END", "PROCESSING_TO_END", "RECEIVED_TO_END"):
        field = f"TASK_SUMMARY_ENUM_FIELD_{name}_DURATION"
        yield from histogram(
            session, "tasks", field, "filterDuration", ["0.001s", "0.005s", "0.1s"]
        )


def rfc3339(seconds: float) -> str:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def of_page(replayed: Any, page: str) -> list[Reply]:
    found = [reply for call, reply in replayed[1] if call.page == page]
    assert found
    return found


def test_every_request_is_answered(replayed: Any) -> None:
    refused = [
        (call, reply.trailers) for call, reply in replayed[1] if not (reply.well or call.most)
    ]
    assert refused == []
    (me,) = (r.messages[0].user for c, r in replayed[1] if c.method.endswith("GetCurrentUser"))
    assert (me.username, {*me.permissions}) == ("Anonymous", all_permissions())


@pytest.mark.parametrize("page", TABLES)
def test_a_sort_loses_no_row(replayed: Any, page: str) -> None:
    pages = [reply.messages[0] for reply in of_page(replayed, f"{page}, sorted")]
    assert len({reply.total for reply in pages}) == 1
    rows = [len(getattr(reply, page)) for reply in pages]
    assert rows == [min(pages[0].total, 10)] * len(rows)
    assert pages[0].total > 0


def test_a_session_shows_its_times_and_counts(replayed: Any) -> None:
    session_id = replayed[0]
    (session,) = (reply.messages[0].session for reply in of_page(replayed, "session"))
    assert session.session_id == session_id
    assert session.HasField("created_at") and session.HasField("duration")
    tasks = [one for r in of_page(replayed, "session, tasks") for one in r.messages[0].tasks]
    (counts,) = (reply.messages[0].status for reply in of_page(replayed, "session, counts"))
    assert sum(count.count for count in counts) == len(tasks)
    (first,) = (r.messages[0].tasks[0] for r in of_page(replayed, "session, CREATED_AT"))
    (last,) = (r.messages[0].tasks[0] for r in of_page(replayed, "session, ENDED_AT"))
    assert first.created_at.ToNanoseconds() == min(t.created_at.ToNanoseconds() for t in tasks)
    assert last.ended_at.ToNanoseconds() == max(t.ended_at.ToNanoseconds() for t in tasks)


RAN = (
    *("created_at", "submitted_at", "received_at", "acquired_at", "fetched_at", "started_at"),
    *("processed_at", "ended_at", "pod_ttl"),
    *("creation_to_end_duration", "processing_to_end_duration", "received_to_end_duration"),
)


def test_tasks_show_their_times_durations_and_pods(replayed: Any) -> None:
    tasks = [one for r in of_page(replayed, "session, tasks") for one in r.messages[0].tasks]
    ran = [one for one in tasks if one.HasField("started_at")]
    assert len(ran) > 5
    for one in ran:
        assert [name for name in RAN if not one.HasField(name)] == []
        assert one.pod_hostname and one.owner_pod_id and one.initial_task_id
        assert one.creation_to_end_duration.ToNanoseconds() >= (
            one.processing_to_end_duration.ToNanoseconds()
        )
    failed = [one for one in tasks if one.status == 5]
    assert any("ValueError: 5" in one.error for one in failed)


def graph_of(session: str, events: Sequence[Any]) -> networkx.DiGraph[str]:
    """As the interface draws it: an id is one node, whatever it is of."""
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_node(session, kind="session")
    for event in events:
        if event.WhichOneof("update") == "new_task":
            new = event.new_task
            graph.add_node(new.task_id, kind="task")
            graph.add_edge(new.payload_id, new.task_id)
            graph.add_edge(new.parent_task_ids[-1], new.payload_id)
            graph.add_edges_from((key, new.task_id) for key in new.data_dependencies)
        elif event.WhichOneof("update") == "new_result":
            graph.add_node(event.new_result.result_id, kind="result")
            if event.new_result.owner_id:
                graph.add_edge(event.new_result.owner_id, event.new_result.result_id)
    return graph


def test_the_graph_has_no_cycle_and_every_node_has_a_kind(replayed: Any) -> None:
    session, _ = replayed
    (events,) = (reply.messages for reply in of_page(replayed, "graph"))
    graph = graph_of(session, events)
    assert all("kind" in data for _, data in graph.nodes(data=True))
    assert networkx.is_directed_acyclic_graph(graph)
    tasks = {event.new_task.task_id for event in events if event.HasField("new_task")}
    results = {event.new_result.result_id for event in events if event.HasField("new_result")}
    assert tasks and results and tasks.isdisjoint(results)
    parents = {event.new_task.parent_task_ids[-1] for event in events if event.HasField("new_task")}
    assert session in parents and parents & tasks  # those that a task has returned are its own


def test_histograms_count_each_task_once(replayed: Any) -> None:
    kinds = {call.page for call, _ in replayed[1] if call.page.startswith("histogram")}
    assert len(kinds) == 5
    for kind in kinds:
        whole, *parts = (reply.messages[0].total for reply in of_page(replayed, kind))
        assert whole == sum(parts) > 0


def test_single_objects(replayed: Any) -> None:
    tasks = [reply.messages[0].task for c, reply in replayed[1] if c.method == "Tasks/GetTask"]
    assert all(one.expected_output_ids and one.payload_id for one in tasks)
    assert all(one.id not in one.expected_output_ids for one in tasks)
    (partition,) = (reply.messages[0].partition for reply in of_page(replayed, "partition"))
    assert partition.id == "default"
