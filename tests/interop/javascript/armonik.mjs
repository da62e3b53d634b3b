// ArmoniK's API for a client: calls by name, and what takes more than one.

import {Schema, joined} from "./protobuf.mjs";

const CHUNK = 60_000;

export class ArmoniK {
  #schema;
  #transport;

  constructor(files, transport) {
    this.#schema = new Schema(files);
    this.#transport = transport;
  }

  /** The replies to a request, or to a stream of requests. */
  async *stream(name, ...requests) {
    const {path, inputType, outputType} = this.#schema.methods.get(name);
    const messages = requests.map((request) => this.#schema.encode(inputType, request));
    for await (const bytes of this.#transport.call(path, messages))
      yield this.#schema.decode(outputType, bytes);
  }

  /** The only reply. */
  async call(name, ...requests) {
    const replies = [];
    for await (const reply of this.stream(name, ...requests)) replies.push(reply);
    if (replies.length !== 1) throw new Error(`${name} has ${replies.length} replies`);
    return replies[0];
  }

  /** Results without data; their ids. */
  async create(sessionId, ...names) {
    const results = names.map((name) => ({name}));
    const reply = await this.call("Results/CreateResultsMetaData", {sessionId, results});
    return reply.results.map(({resultId}) => resultId);
  }

  /** A result with its data; its id. */
  async store(sessionId, data, {manualDeletion = false} = {}) {
    const results = [{name: "data", data, manualDeletion}];
    const reply = await this.call("Results/CreateResults", {sessionId, results});
    return reply.results[0].resultId;
  }

  /** Give a result its data: a browser, which has no streams of requests, imports what it has stored. */
  async upload(sessionId, resultId, data) {
    if (this.#transport.streamsRequests) {
      const chunks = [];
      for (let at = 0; at < data.length; at += CHUNK)
        chunks.push({dataChunk: data.subarray(at, at + CHUNK)});
      await this.call("Results/UploadResultData", {id: {sessionId, resultId}}, ...chunks);
    } else {
      const stored = await this.describe(await this.store(sessionId, data));
      await this.take(sessionId, resultId, stored.opaqueId);
    }
  }

  /** Give a result data that there is already. */
  async take(sessionId, resultId, opaqueId) {
    await this.call("Results/ImportResultsData", {sessionId, results: [{resultId, opaqueId}]});
  }

  async describe(resultId) {
    return (await this.call("Results/GetResult", {resultId})).result;
  }

  async submit(sessionId, payloadId, expectedOutputKeys, dataDependencies = []) {
    const taskCreations = [{payloadId, expectedOutputKeys, dataDependencies}];
    const reply = await this.call("Tasks/SubmitTasks", {sessionId, taskCreations});
    return reply.taskInfos[0].taskId;
  }

  async task(taskId) {
    return (await this.call("Tasks/GetTask", {taskId})).task;
  }

  /** Wait for a result; whether it is completed or aborted. */
  async settled(sessionId, resultId) {
    const field = {resultRawField: {field: "RESULT_RAW_ENUM_FIELD_RESULT_ID"}};
    const filterString = {value: resultId, operator: "FILTER_STRING_OPERATOR_EQUAL"};
    const events = this.stream("Events/GetEvents", {
      sessionId,
      resultsFilters: {or: [{and: [{field, filterString}]}]},
      returnedEvents: ["EVENTS_ENUM_NEW_RESULT", "EVENTS_ENUM_RESULT_STATUS_UPDATE"],
    });
    for await (const {newResult, resultStatusUpdate} of events) {
      const {status} = newResult ?? resultStatusUpdate;
      if (status !== "RESULT_STATUS_CREATED") return status;
    }
    throw new Error("the events have ended");
  }

  async download(sessionId, resultId) {
    const chunks = [];
    for await (const {dataChunk} of this.stream("Results/DownloadResultData", {sessionId, resultId}))
      chunks.push(dataChunk);
    return joined(chunks);
  }

  close() {
    this.#transport.close();
  }
}
