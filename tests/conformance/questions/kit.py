"""What the probes are made of: stubs, shorthands, waits, and the normal form of an answer."""
import json, re, threading, time

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from armonik.protogen.client import (applications_service_pb2_grpc as apg, auth_service_pb2_grpc as aug, events_service_pb2_grpc as evg, health_checks_service_pb2_grpc as heg,
    partitions_service_pb2_grpc as pag, results_service_pb2_grpc as reg, sessions_service_pb2_grpc as seg, tasks_service_pb2_grpc as tag, versions_service_pb2_grpc as veg)
from armonik.protogen.common import (applications_common_pb2 as apm, applications_fields_pb2 as apf, applications_filters_pb2 as apx, auth_common_pb2 as aum, events_common_pb2 as em, filters_common_pb2 as fm,
    health_checks_common_pb2 as hm, objects_pb2 as om, partitions_common_pb2 as pm, partitions_fields_pb2 as pf, partitions_filters_pb2 as px, result_status_pb2 as rstat, results_common_pb2 as rm,
    results_fields_pb2 as rf, results_filters_pb2 as rx, session_status_pb2 as sstat, sessions_common_pb2 as sm, sessions_fields_pb2 as sf, sessions_filters_pb2 as sx, task_status_pb2 as tstat,
    tasks_common_pb2 as tm, tasks_fields_pb2 as tf, tasks_filters_pb2 as tx, versions_common_pb2 as vm)

PROBES = {}
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
NOWHERE = "00000000-dead-4000-8000-000000000000"
FINAL = ("COMPLETED", "ERROR", "TIMEOUT", "CANCELLED", "RETRIED")
WORDS = ("not found", "transition", "submission", "partition", "priority", "empty", "cancel", "abort", "delete", "timeout", "deadline", "dependenc", "payload", "duplicate", "token", "closed", "worker", "greater", "request", "unimplemented", "not implemented", "sort", "field", "page")


def probe(f):
    """Registers a probe: a function of the client that returns a JSON-able outcome. Its docstring is the question."""
    assert f.__name__ not in PROBES, f.__name__
    f.area = f.__module__.rpartition("probes_")[2]; PROBES[f.__name__] = f; return f


def enum(kind, number):
    try: name = kind.Name(number)
    except ValueError: return number
    return name.split("_STATUS_", 1)[-1] if "_STATUS_" in name else name


T, R, S = (lambda n: enum(tstat.TaskStatus, n)), (lambda n: enum(rstat.ResultStatus, n)), (lambda n: enum(sstat.SessionStatus, n))
PRESENCE = {"owner_pod_id", "pod_hostname", "opaque_id"}


def show(m, without=()):
    """A message as plain data: times reduced to set or unset, enums to names."""
    if isinstance(m, Timestamp): return "set" if m.seconds > 1_000_000_000 else f"odd {m.seconds}"
    if isinstance(m, Duration): return f"{m.seconds}s" if not m.nanos else "set" if m.seconds >= 0 and m.nanos > 0 else "negative"
    out = {}
    for f in m.DESCRIPTOR.fields:
        v = getattr(m, f.name)
        if f.name in without: continue
        if f.message_type and f.message_type.GetOptions().map_entry: out[f.name] = dict(sorted(v.items()))
        elif f.is_repeated: out[f.name] = [show(x) if f.message_type else enum_of(f, x) for x in v]
        elif f.message_type: out[f.name] = show(v) if m.HasField(f.name) else None
        elif f.containing_oneof and not m.HasField(f.name): continue
        elif f.name in PRESENCE: out[f.name] = "set" if v else ""
        elif f.name == "message": out["~message"] = v
        elif isinstance(v, bytes): out[f.name] = v.decode("utf8", "replace")
        else: out[f.name] = enum_of(f, v)
    for k in ("creation_to_end_duration", "processing_to_end_duration", "received_to_end_duration", "duration"):
        if out.get(k) is not None: out[k] = "set" if out[k] != "negative" else "negative"
    if "received_to_end_duration" in out: out["~received_to_end_duration"] = out.pop("received_to_end_duration")  # by the database: see run_received_duration
    return out


def enum_of(f, v):
    if not f.enum_type: return v
    x = f.enum_type.values_by_number.get(v)
    return v if x is None else x.name.split("_STATUS_", 1)[-1]


def bag(items): return {"in any order": list(items)}


def order(x):
    """Bags are sorted once ids have their names."""
    if isinstance(x, dict): return {"in any order": sorted((order(v) for v in x["in any order"]), key=json.dumps)} if "in any order" in x else {k: order(v) for k, v in x.items()}
    return [order(v) for v in x] if isinstance(x, list) else x


def gist(text):
    low = (text or "").lower()
    return [w for w in WORDS if w in low]


class Client:
    pace = 1.0  # of waits for something not to happen

    def __init__(self, endpoint, main="default", solo="solo", empty="empty"):
        self.main, self.solo, self.empty = main, solo, empty
        big = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
        self.channel = grpc.insecure_channel(endpoint.replace("http://", ""), options=big)
        c = self.channel
        self.S, self.R, self.T, self.E, self.P, self.A, self.V, self.H, self.U = (seg.SessionsStub(c), reg.ResultsStub(c), tag.TasksStub(c), evg.EventsStub(c), pag.PartitionsStub(c), apg.ApplicationsStub(c), veg.VersionsStub(c),
            heg.HealthChecksServiceStub(c), aug.AuthenticationStub(c))
        self.labels, self.sessions, self.counts = {}, [], {}

    # --- names for ids
    def tag(self, id, label):
        if id and id not in self.labels:
            n = self.counts[label] = self.counts.get(label, 0) + 1
            self.labels[id] = f"<{label}>" if n == 1 else f"<{label}{n}>"
        return id

    def normal(self, outcome):
        self.labels.setdefault(NOWHERE, "<unknown>")
        text = json.dumps(outcome)
        for id in sorted(self.labels, key=len, reverse=True): text = text.replace(json.dumps(id)[1:-1], self.labels[id])
        return order(json.loads(GUID.sub("<id>", text)))

    def clean(self):
        for s in self.sessions:
            try: self.S.CancelSession(sm.CancelSessionRequest(session_id=s), timeout=20)
            except grpc.RpcError: pass

    # --- calls
    def ask(self, f, q, pick=None, timeout=40):
        """The answer to one call, or its status code."""
        try: a = f(q, timeout=timeout)
        except grpc.RpcError as e: return self.failed(e)
        try: return {"code": "OK"} | ({} if pick is False else {"answer": pick(a) if pick else show(a)})
        except grpc.RpcError as e: return self.failed(e)

    def code(self, f, q, timeout=40): return self.ask(f, q, False, timeout)["code"]

    @staticmethod
    def failed(e): return {"code": e.code().name, "~gist": gist(e.details()), "detail?": bool(e.details())}

    # --- shorthands
    def options(self, max_duration=60, **k):
        k = {"max_retries": 1, "priority": 1, "partition_id": self.main} | k
        return om.TaskOptions(**({} if max_duration is None else {"max_duration": Duration(seconds=max_duration)}), **k)

    def session(self, partitions=None, label="session", **k):
        parts = [self.main] if partitions is None else partitions
        if parts and "partition_id" not in k: k["partition_id"] = parts[0]
        s = self.S.CreateSession(sm.CreateSessionRequest(default_task_option=self.options(**k), partition_ids=parts), timeout=40).session_id
        self.sessions.append(s); return self.tag(s, label)

    def get_session(self, s): return self.S.GetSession(sm.GetSessionRequest(session_id=s), timeout=40).session

    def meta(self, s, *names, manual=False):
        ids = [r.result_id for r in self.R.CreateResultsMetaData(rm.CreateResultsMetaDataRequest(session_id=s, results=[rm.CreateResultsMetaDataRequest.ResultCreate(name=n, manual_deletion=manual) for n in names]), timeout=40).results]
        for n, i in zip(names, ids): self.tag(i, n)
        return ids if len(ids) != 1 else ids[0]

    def data(self, s, name, data=b"data", manual=False):
        r = self.R.CreateResults(rm.CreateResultsRequest(session_id=s, results=[rm.CreateResultsRequest.ResultCreate(name=name, data=data, manual_deletion=manual)]), timeout=40).results[0].result_id
        return self.tag(r, name)

    def upload(self, s, r, *chunks, pick=None):
        def parts():
            yield rm.UploadResultDataRequest(id=rm.UploadResultDataRequest.ResultIdentifier(session_id=s, result_id=r))
            for x in chunks: yield rm.UploadResultDataRequest(data_chunk=x)
        return self.ask(self.R.UploadResultData, parts(), pick)

    def download(self, s, r):
        return self.ask(self.R.DownloadResultData, rm.DownloadResultDataRequest(session_id=s, result_id=r), lambda a: b"".join(x.data_chunk for x in a).decode("utf8", "replace"))

    def creation(self, payload, outs=(), deps=(), options=None): return tm.SubmitTasksRequest.TaskCreation(payload_id=payload, expected_output_keys=outs, data_dependencies=deps, task_options=options)

    def submission(self, s, *creations, options=None): return tm.SubmitTasksRequest(session_id=s, task_creations=creations, task_options=options)

    def submit(self, s, payload, outs=(), deps=(), options=None, label="task"):
        t = self.T.SubmitTasks(self.submission(s, self.creation(payload, outs, deps, options)), timeout=40).task_infos[0].task_id
        return self.tag(t, label)

    def script(self, *do, reply=("ok",), report="@out0", attempts=None):
        return json.dumps({"attempts": attempts} if attempts else {"do": do, "report": report, "reply": reply}).encode()

    def start(self, s, *do, outs=None, deps=(), options=None, label="task", **k):
        """Submits a scripted task with new outputs of these names: task id, output ids. One that would end well without a report has none."""
        if outs is None: outs = () if k.get("report", "") is None and k.get("reply", ("ok",))[0] == "ok" and not k.get("attempts") else ("out",)
        p = self.data(s, "payload", self.script(*do, **k)); o = self.meta(s, *outs) if outs else []
        o = [o] if isinstance(o, str) else o
        return self.submit(s, p, o, deps, options, label), o

    def run(self, s, *do, seconds=60, **k):
        """Runs a scripted task and gives (its final state, its report with the ids named)."""
        t, o = self.start(s, *do, **k)
        state = self.ended(t, seconds)
        report = self.report(s, o[0]) if o and k.get("report", "@out0") else None
        return state, report

    def report(self, s, r):
        a = self.download(s, r)
        if a["code"] != "OK": return a
        return self.readable(json.loads(a["answer"]))

    def readable(self, report):
        for verb, said in report:
            a = said.get("answer")
            if isinstance(a, dict):
                for x in a.get("results", []): self.tag(x["id"], x["name"])
                for x in a.get("tasks", []): self.tag(x["id"], "child"); self.tag(x["payload"], "child payload")
            if "detail" in said: said["~gist"] = gist(said.pop("detail"))
        return report

    def task(self, t): return self.T.GetTask(tm.GetTaskRequest(task_id=t), timeout=40).task
    def result(self, r): return self.R.GetResult(rm.GetResultRequest(result_id=r), timeout=40).result
    def status(self, t): return T(self.task(t).status)
    def rstatus(self, r): return R(self.result(r).status)

    def until(self, f, seconds=60, pause=0.05):
        end = time.monotonic() + seconds
        while True:
            v = f()
            if v or time.monotonic() > end: return v
            time.sleep(pause)

    def ended(self, t, seconds=60): return self.reaches(t, *FINAL, seconds=seconds)

    def reaches(self, t, *statuses, seconds=60):
        self.until(lambda: self.status(t) in statuses, seconds); return self.status(t)

    def becomes(self, r, *statuses, seconds=60):
        self.until(lambda: self.rstatus(r) in statuses, seconds); return self.rstatus(r)

    def stays(self, f, value, seconds=1.5):
        """The value of f() after it had time to change."""
        end = time.monotonic() + seconds * self.pace
        while time.monotonic() < end and f() == value: time.sleep(0.1)
        return f()

    def details(self, t, *only):
        d = show(self.task(t))
        e = d["output"]["error"] if d.get("output") else ""
        if d.get("output"): d["output"] = {"success": d["output"]["success"], "error?": bool(e), "~gist": gist(e)}
        return {k: d[k] for k in only} if only else d

    def error(self, t): return self.task(t).output.error

    def tasks(self, *conditions, size=100):
        return self.T.ListTasksDetailed(tm.ListTasksRequest(page_size=size, filters=task_filters(*conditions), sort=tm.ListTasksRequest.Sort(field=task_field("CREATED_AT"), direction=1)), timeout=40).tasks

    def events(self, s, kinds=(), tasks=None, results=None): return Events(self, s, kinds, tasks, results)


class Events(threading.Thread):
    """An event stream, collected in the background."""
    def __init__(self, c, s, kinds, tasks, results):
        super().__init__(daemon=True)
        self.c, self.got, self.end, self.at = c, [], None, time.monotonic()
        q = em.EventSubscriptionRequest(session_id=s, tasks_filters=tasks, results_filters=results, returned_events=[em.EventsEnum.Value("EVENTS_ENUM_" + k) if isinstance(k, str) else k for k in kinds])
        self.call = c.E.GetEvents(q)
        self.start()

    def run(self):
        try:
            for e in self.call: self.got.append(e); self.at = time.monotonic()
            self.end = "OK"
        except grpc.RpcError as e: self.end = e.code().name

    def quiet(self, seconds=1.0, limit=20):
        """Waits until nothing has come for `seconds`."""
        seconds *= self.c.pace; self.at, last = time.monotonic(), time.monotonic() + limit
        while time.monotonic() < min(self.at + seconds, last) and self.end is None: time.sleep(0.05)
        return self

    def until(self, f, seconds=60): self.c.until(lambda: self.end or any(f(e) for e in list(self.got)), seconds); return self

    def close(self): self.call.cancel(); self.join(5); return self

    def lines(self):
        out = []
        for e in list(self.got):
            k = e.WhichOneof("update"); u = getattr(e, k)
            if k == "result_owner_update": out.append([k, u.result_id, u.previous_owner_id, u.current_owner_id])
            elif k == "new_task": out.append([k, u.task_id, T(u.status)])
            elif k == "task_status_update": out.append([k, u.task_id, T(u.status)])
            elif k == "new_result": out.append([k, u.result_id, u.owner_id, R(u.status)])
            else: out.append([k, u.result_id, R(u.status)])
        return out


# --- filters and sorts
def task_field(name):
    if name.startswith("option "): return tf.TaskField(task_option_field=tf.TaskOptionField(field=tf.TaskOptionEnumField.Value("TASK_OPTION_ENUM_FIELD_" + name[7:])))
    if name.startswith("key "): return tf.TaskField(task_option_generic_field=tf.TaskOptionGenericField(field=name[4:]))
    return tf.TaskField(task_summary_field=tf.TaskSummaryField(field=tf.TaskSummaryEnumField.Value("TASK_SUMMARY_ENUM_FIELD_" + name)))


def session_field(name):
    if name.startswith("option "): return sf.SessionField(task_option_field=sf.TaskOptionField(field=sf.TaskOptionEnumField.Value("TASK_OPTION_ENUM_FIELD_" + name[7:])))
    if name.startswith("key "): return sf.SessionField(task_option_generic_field=sf.TaskOptionGenericField(field=name[4:]))
    return sf.SessionField(session_raw_field=sf.SessionRawField(field=sf.SessionRawEnumField.Value("SESSION_RAW_ENUM_FIELD_" + name)))


def result_field(name): return rf.ResultField(result_raw_field=rf.ResultRawField(field=rf.ResultRawEnumField.Value("RESULT_RAW_ENUM_FIELD_" + name)))
def partition_field(name): return pf.PartitionField(partition_raw_field=pf.PartitionRawField(field=pf.PartitionRawEnumField.Value("PARTITION_RAW_ENUM_FIELD_" + name)))
def application_field(name): return apf.ApplicationField(application_field=apf.ApplicationRawField(field=apf.ApplicationRawEnumField.Value("APPLICATION_RAW_ENUM_FIELD_" + name)))


STRING = {"==": 0, "!=": 1, "has": 2, "hasnot": 3, "starts": 4, "ends": 5}
ORDER = {"==": 0, "!=": 1, "<": 2, "<=": 3, ">=": 4, ">": 5}


def value(op, x, kind=None, x_module=None):
    if kind == "status": return {"filter_status": x_module.FilterStatus(value=x, operator=ORDER[op])}
    if kind == "array": return {"filter_array": fm.FilterArray(value=x, operator={"has": 0, "hasnot": 1}[op])}
    if kind == "date": return {"filter_date": fm.FilterDate(operator=ORDER[op]) if x is None else fm.FilterDate(value=x, operator=ORDER[op])}
    if kind == "duration": return {"filter_duration": fm.FilterDuration(operator=ORDER[op]) if x is None else fm.FilterDuration(value=x, operator=ORDER[op])}
    if kind == "bool" or isinstance(x, bool): return {"filter_boolean": fm.FilterBoolean(value=x)}
    if isinstance(x, int): return {"filter_number": fm.FilterNumber(value=x, operator=ORDER[op])}
    return {"filter_string": fm.FilterString(value=x, operator=STRING[op])}


def filters_of(module, field, *alternatives):
    """Each alternative is a list of (field, operator, value[, kind])."""
    one = lambda n, op, x, kind=None: module.FilterField(field=field(n), **value(op, x, kind, module))
    return module.Filters(**{"or": [module.FiltersAnd(**{"and": [one(*a) for a in each]}) for each in alternatives]})


def task_filters(*a): return filters_of(tx, task_field, *a)
def session_filters(*a): return filters_of(sx, session_field, *a)
def result_filters(*a): return filters_of(rx, result_field, *a)
def partition_filters(*a): return filters_of(px, partition_field, *a)
def application_filters(*a): return filters_of(apx, application_field, *a)


def list_tasks(filters, sort="CREATED_AT", direction=1, page=0, size=100): return tm.ListTasksRequest(page=page, page_size=size, filters=filters, sort=tm.ListTasksRequest.Sort(field=task_field(sort), direction=direction))
def list_sessions(filters, sort="CREATED_AT", direction=1, page=0, size=100): return sm.ListSessionsRequest(page=page, page_size=size, filters=filters, sort=sm.ListSessionsRequest.Sort(field=session_field(sort), direction=direction))
def list_results(filters, sort="NAME", direction=1, page=0, size=100): return rm.ListResultsRequest(page=page, page_size=size, filters=filters, sort=rm.ListResultsRequest.Sort(field=result_field(sort), direction=direction))
def list_partitions(filters, sort="ID", direction=1, page=0, size=100): return pm.ListPartitionsRequest(page=page, page_size=size, filters=filters, sort=pm.ListPartitionsRequest.Sort(field=partition_field(sort), direction=direction))
def list_applications(filters, sort=("NAME",), direction=1, page=0, size=100): return apm.ListApplicationsRequest(page=page, page_size=size, filters=filters, sort=apm.ListApplicationsRequest.Sort(fields=[application_field(n) for n in sort], direction=direction))
