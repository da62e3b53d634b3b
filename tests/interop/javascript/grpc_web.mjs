// gRPC-Web over fetch, as browsers have it; Node has it, too.

import {Frames, Refusal, framed} from "./frames.mjs";
import {joined} from "./protobuf.mjs";

const TRAILERS = 0x80;

export class GrpcWeb {
  streamsRequests = false;
  #url;

  constructor(url) {
    this.#url = url.replace(/\/$/, "");
  }

  async *call(path, messages) {
    const leaving = new AbortController();
    const reply = await fetch(this.#url + path, {
      method: "POST",
      body: joined(messages.map(framed)),
      headers: {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
      signal: leaving.signal,
    });
    if (!reply.ok) throw new Refusal(2, `HTTP ${reply.status}`);
    let ending = Object.fromEntries(reply.headers);
    const reader = reply.body.getReader();
    try {
      const frames = new Frames();
      for (let part = await reader.read(); !part.done; part = await reader.read())
        for (const {flags, data} of frames.feed(part.value))
          if (flags & TRAILERS) ending = {...ending, ...trailers(data)};
          else yield data;
    } finally {
      leaving.abort();
    }
    Refusal.check(ending["grpc-status"], ending["grpc-message"]);
  }

  close() {}
}

function trailers(data) {
  const lines = new TextDecoder().decode(data).trim().split("\r\n");
  return Object.fromEntries(lines.map((line) => line.match(/^([^:]+): ?(.*)$/).slice(1)));
}
