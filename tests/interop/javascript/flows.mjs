// What clients of ArmoniK do, flow by flow. The worker does what a payload says: a step, arguments.

import {Refusal} from "./frames.mjs";

const PARTITION = "default";
const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);
const step = (...parts) => bytes(JSON.stringify(parts));
const UPPER = step("upper");

async function openSession(api) {
  const defaultTaskOption = {
    maxDuration: {seconds: 300n}, maxRetries: 2, priority: 1, partitionId: PARTITION,
  };
  const reply = await api.call("Sessions/CreateSession", {
    defaultTaskOption, partitionIds: [PARTITION],
  });
  return reply.sessionId;
}

/** The code of a call that is refused. */
async function code(call) {
  try {
    await call;
  } catch (error) {
    if (error instanceof Refusal) return error.code;
    throw error;
  }
  return 0;
}

/** A session from its beginning to its end. */
async function client(api) {
  const sessionId = await openSession(api);
  const [payload, input] = await api.create(sessionId, "payload", "input");
  await api.upload(sessionId, payload, UPPER);
  await api.upload(sessionId, input, bytes("grüße, ".repeat(20_000)));
  const [output] = await api.create(sessionId, "output");
  const task = await api.submit(sessionId, payload, [output], [input]);
  const settled = await api.settled(sessionId, output);
  const value = text(await api.download(sessionId, output));
  const {status: ofTask, parentTaskIds, options} = await api.task(task);
  const told = [];
  for (const verb of ["Close", "Purge", "Delete"]) {
    await api.call(`Sessions/${verb}Session`, {sessionId});
    if (verb === "Purge") told.push((await api.describe(output)).status);
    told.push(await code(api.call("Sessions/GetSession", {sessionId})));
    told.push(await code(api.download(sessionId, output)));
  }
  return {settled, value, ofTask, parents: parentTaskIds.length, options, told};
}

/** Payloads that come with their metadata. */
async function payloadAndMetadata(api) {
  const sessionId = await openSession(api);
  const payload = await api.store(sessionId, UPPER);
  const input = await api.store(sessionId, bytes("stored"));
  const [output] = await api.create(sessionId, "output");
  const before = [(await api.describe(payload)).status, (await api.describe(output)).status];
  const task = await api.submit(sessionId, payload, [output], [input]);
  const settled = await api.settled(sessionId, output);
  const owner = (await api.describe(output)).ownerTaskId === task;
  return {before, settled, owner, value: text(await api.download(sessionId, output))};
}

/** A payload that is uploaded after the task was submitted, which waits for it. */
async function delayedPayload(api) {
  const sessionId = await openSession(api);
  const [payload, output] = await api.create(sessionId, "payload", "output");
  const input = await api.store(sessionId, bytes("late"));
  const task = await api.submit(sessionId, payload, [output], [input]);
  const {status: waiting} = await api.task(task);
  const settling = api.settled(sessionId, output);
  await api.upload(sessionId, payload, UPPER);
  const settled = await settling;
  return {waiting, settled, value: text(await api.download(sessionId, output))};
}

/** Data of another session, which has ended, as payload and as input. */
async function importing(api) {
  const earlier = await openSession(api);
  const keep = {manualDeletion: true};
  const kept = [await api.store(earlier, UPPER, keep), await api.store(earlier, bytes("old"), keep)];
  const opaqueIds = [];
  for (const resultId of kept) opaqueIds.push((await api.describe(resultId)).opaqueId);
  await api.call("Sessions/CloseSession", {sessionId: earlier});
  await api.call("Sessions/PurgeSession", {sessionId: earlier});

  const sessionId = await openSession(api);
  const [payload, input, output] = await api.create(sessionId, "payload", "input", "output");
  await api.take(sessionId, payload, opaqueIds[0]);
  await api.submit(sessionId, payload, [output], [input]);
  await api.take(sessionId, input, opaqueIds[1]);
  const settled = await api.settled(sessionId, output);
  const unknown = await code(api.take(sessionId, output, bytes("nobody has this")));
  return {settled, unknown, value: text(await api.download(sessionId, output))};
}

/** A task that makes results and children, and hands its output on; and one that fails. */
async function agentAndWorker(api) {
  const sessionId = await openSession(api);
  const payload = await api.store(sessionId, step("expand"));
  const [output, never] = await api.create(sessionId, "output", "never");
  const parent = await api.submit(sessionId, payload, [output]);
  const settled = await api.settled(sessionId, output);
  const value = text(await api.download(sessionId, output));
  const {ownerTaskId} = await api.describe(output);
  const child = await api.task(ownerTaskId);
  const failing = await api.submit(sessionId, await api.store(sessionId, step("fail")), [never]);
  const aborted = await api.settled(sessionId, never);
  const {status, output: {success, error}} = await api.task(failing);
  const counts = await api.call("Tasks/CountTasksByStatus", {
    filters: {or: [{and: [{
      field: {taskSummaryField: {field: "TASK_SUMMARY_ENUM_FIELD_SESSION_ID"}},
      filterString: {value: sessionId, operator: "FILTER_STRING_OPERATOR_EQUAL"},
    }]}]},
  });
  return {
    settled, length: value.length, words: value.split(" ")[0],
    isChild: child.createdBy === parent && child.parentTaskIds.includes(parent),
    aborted, failure: {status, success, error},
    counts: Object.fromEntries(counts.status.map(({status, count}) => [status, count])),
  };
}

export const FLOWS = {client, payloadAndMetadata, delayedPayload, importing, agentAndWorker};

/** What all of them have seen, as JSON; a failure in the place of what it has spoiled. */
export async function runAll(api) {
  const seen = {};
  for (const [name, flow] of Object.entries(FLOWS))
    try {
      seen[name] = await flow(api);
    } catch (error) {
      seen[name] = {failed: `${error.stack}\ncode: ${error.code}`};
    }
  api.close();
  return JSON.stringify(seen, (_, value) => (typeof value === "bigint" ? Number(value) : value));
}
