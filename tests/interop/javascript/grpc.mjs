// gRPC over HTTP/2, with Node's own module.

import http2 from "node:http2";
import {Frames, Refusal, framed} from "./frames.mjs";

export class Grpc {
  streamsRequests = true;
  #session;

  constructor(url) {
    this.#session = http2.connect(url);
  }

  async *call(path, messages) {
    const stream = this.#session.request({
      ":method": "POST", ":path": path, "content-type": "application/grpc", "te": "trailers",
    });
    let ending = {};
    stream.on("response", (headers) => (ending = {...ending, ...headers}));
    stream.on("trailers", (trailers) => (ending = {...ending, ...trailers}));
    for (const message of messages) stream.write(framed(message));
    stream.end();
    try {
      const frames = new Frames();
      for await (const piece of stream) for (const {data} of frames.feed(piece)) yield data;
    } finally {
      if (!stream.closed) stream.close(http2.constants.NGHTTP2_CANCEL);
    }
    Refusal.check(ending["grpc-status"], ending["grpc-message"]);
  }

  close() {
    this.#session.close();
  }
}
