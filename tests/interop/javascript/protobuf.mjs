// Messages of an API by its description: file descriptors, as protobuf's JSON has them.
//
// A message is a plain object: names in lowerCamelCase, enums by their names, bytes as Uint8Array,
// numbers of 64 bits as BigInt. A single message, or a member of a oneof, that is not set is absent.

const WIRE = {
  TYPE_BOOL: 0, TYPE_INT32: 0, TYPE_INT64: 0, TYPE_ENUM: 0,
  TYPE_STRING: 2, TYPE_BYTES: 2, TYPE_MESSAGE: 2,
};
const DEFAULTS = {
  TYPE_BOOL: false, TYPE_INT32: 0, TYPE_INT64: 0n, TYPE_STRING: "", TYPE_BYTES: new Uint8Array(),
};
const TEXT = new TextEncoder();

export class Schema {
  constructor(files) {
    this.messages = new Map();
    this.enums = new Map();
    this.methods = new Map();
    for (const file of files) this.#addFile(file);
  }

  #addFile(file) {
    const scope = `.${file.package}`;
    this.#addTypes(scope, file.messageType, file.enumType);
    for (const service of file.service ?? [])
      for (const method of service.method) {
        const path = `/${file.package}.${service.name}/${method.name}`;
        this.methods.set(`${service.name}/${method.name}`, {...method, path});
      }
  }

  #addTypes(scope, messages = [], enums = []) {
    for (const one of enums) {
      const numbers = new Map(one.value.map(({name, number}) => [name, number ?? 0]));
      const names = new Map([...numbers].map(([name, number]) => [number, name]));
      this.enums.set(`${scope}.${one.name}`, {numbers, names});
    }
    for (const message of messages) {
      const name = `${scope}.${message.name}`;
      const fields = (message.field ?? []).map(described);
      this.messages.set(name, {fields, isEntry: message.options?.mapEntry ?? false});
      this.#addTypes(name, message.nestedType, message.enumType);
    }
  }

  encode(type, message) {
    const written = new Writer();
    const {fields} = this.messages.get(type);
    const unknown = Object.keys(message).filter((key) => !fields.some(({key: known}) => key === known));
    if (unknown.length) throw new TypeError(`${type} has no field ${unknown}`);
    for (const field of fields)
      for (const value of this.#values(field, message[field.key])) {
        written.varint(BigInt(field.number * 8 + WIRE[field.type]));
        this.#write(written, field, value);
      }
    return written.bytes();
  }

  #values(field, value) {
    if (value === undefined) return [];
    if (!field.repeated) return [value];
    if (Array.isArray(value)) return value;
    return Object.entries(value).map(([key, each]) => ({key, value: each}));
  }

  #write(written, field, value) {
    switch (field.type) {
      case "TYPE_MESSAGE": return written.data(this.encode(field.typeName, value));
      case "TYPE_STRING": return written.data(TEXT.encode(value));
      case "TYPE_BYTES": return written.data(value);
      case "TYPE_ENUM": return written.varint(BigInt(this.#number(field, value)));
      default: return written.varint(BigInt(value));
    }
  }

  #number(field, name) {
    const number = this.enums.get(field.typeName).numbers.get(name);
    if (number === undefined) throw new TypeError(`${field.typeName} has no value ${name}`);
    return number;
  }

  decode(type, bytes) {
    const {fields} = this.messages.get(type);
    const message = {};
    for (const field of fields)
      if (field.repeated) message[field.key] = this.#isMap(field) ? {} : [];
      else if (!field.optional) message[field.key] = this.#default(field);
    const read = new Reader(bytes);
    while (read.more()) {
      const tag = Number(read.varint());
      const field = fields.find(({number}) => number === tag >> 3);
      if (field === undefined) read.skip(tag & 7);
      else this.#take(message, field, tag & 7, read);
    }
    return message;
  }

  #isMap(field) {
    return field.type === "TYPE_MESSAGE" && this.messages.get(field.typeName).isEntry;
  }

  #default(field) {
    if (field.type === "TYPE_ENUM") return this.enums.get(field.typeName).names.get(0);
    return DEFAULTS[field.type];
  }

  #take(message, field, wire, read) {
    if (field.repeated && wire === 2 && WIRE[field.type] === 0) {
      const packed = new Reader(read.data());
      while (packed.more()) message[field.key].push(this.#read(packed, field));
      return;
    }
    const value = this.#read(read, field);
    if (!field.repeated) message[field.key] = value;
    else if (this.#isMap(field)) message[field.key][value.key] = value.value;
    else message[field.key].push(value);
  }

  #read(read, field) {
    switch (field.type) {
      case "TYPE_MESSAGE": return this.decode(field.typeName, read.data());
      case "TYPE_STRING": return new TextDecoder().decode(read.data());
      case "TYPE_BYTES": return read.data();
      case "TYPE_BOOL": return read.varint() !== 0n;
      case "TYPE_INT64": return BigInt.asIntN(64, read.varint());
      case "TYPE_INT32": return Number(BigInt.asIntN(32, read.varint()));
    }
    const number = Number(read.varint());
    return this.enums.get(field.typeName).names.get(number) ?? number;
  }
}

function described({name, number, label, type, typeName, oneofIndex}) {
  if (!(type in WIRE)) throw new TypeError(`field ${name}: ${type} is not known here`);
  return {
    key: name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()),
    number, type, typeName,
    repeated: label === "LABEL_REPEATED",
    optional: type === "TYPE_MESSAGE" || oneofIndex !== undefined,
  };
}

class Writer {
  #parts = [];

  varint(value) {
    let rest = BigInt.asUintN(64, value);
    const bytes = [];
    for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
    bytes.push(Number(rest));
    this.#parts.push(Uint8Array.from(bytes));
  }

  data(bytes) {
    this.varint(BigInt(bytes.length));
    this.#parts.push(bytes);
  }

  bytes() {
    return joined(this.#parts);
  }
}

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  more() {
    return this.#at < this.#bytes.length;
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  }

  data() {
    const size = Number(this.varint());
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  skip(wire) {
    if (wire === 0) this.varint();
    else if (wire === 2) this.data();
    else this.#at += wire === 1 ? 8 : 4;
  }
}

export function joined(parts) {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
