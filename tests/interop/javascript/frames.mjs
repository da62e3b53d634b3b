// What gRPC and gRPC-Web put messages in: a byte of flags, four of size, the message.

import {joined} from "./protobuf.mjs";

export function framed(message) {
  const head = new DataView(new ArrayBuffer(5));
  head.setUint32(1, message.length);
  return joined([new Uint8Array(head.buffer), message]);
}

export class Frames {
  #rest = new Uint8Array();

  /** The frames that are whole with this piece. */
  *feed(piece) {
    this.#rest = joined([this.#rest, piece]);
    while (this.#rest.length >= 5) {
      const size = new DataView(this.#rest.buffer, this.#rest.byteOffset).getUint32(1);
      if (this.#rest.length < 5 + size) return;
      const [flags, data] = [this.#rest[0], this.#rest.slice(5, 5 + size)];
      this.#rest = this.#rest.subarray(5 + size);
      yield {flags, data};
    }
  }
}

/** How a call ended, where it did not end well. */
export class Refusal extends Error {
  constructor(code, text) {
    super(decodeURIComponent(text));
    this.code = code;
  }

  static check(status, text) {
    if (status !== "0") throw new Refusal(Number(status ?? 2), text ?? "the call has no status");
  }
}
