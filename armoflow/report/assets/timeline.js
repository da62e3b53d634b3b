"use strict";
// When which task ran where, on a canvas: zoomed by wheel, pinch, drag, buttons and keyboard.

const COLOURS = 8; // as many as --name-0 ... of the style sheet; other names share --name-other
const GUTTER = { least: 48, most: 150 }; // pixels for what the rows are called
const AXIS = 26;
const STATES = ["", "failed", "cancelled", "tried again"]; // by the flag of an interval
const kindOf = (state) => (state === "tried again" ? "retried" : state);
const ROW = { least: 5, most: 22, height: 460 };
const NEAREST = 24; // steps of the data that fill the view at most

class Timeline {
  // section: the element that holds the canvas; pick(number): an interval was chosen.
  constructor(section, pick) {
    this.section = section;
    this.canvas = section.querySelector("canvas");
    this.tip = section.querySelector(".tip");
    this.pick = pick;
    this.clear({ origin: 0, tick: 1, names: [], rows: [] });
    this.listen();
  }

  clear(data) {
    this.origin = data.origin;
    this.tick = data.tick;
    this.begin = Infinity;
    this.end = 1;
    this.parts = [];
    this.live = [];
    this.marked = new Set(); // flags that occur
    this.view = null; // all of it
    this.frame(data);
  }

  // Names, and the rows as they are drawn: numbers of the data, and what they are called.
  frame(data) {
    this.names = data.names;
    this.lanes = data.rows.map(([, label]) => label);
    this.rows = new Map(data.rows.map(([number], row) => [number, row]));
    const context = this.canvas.getContext("2d");
    context.font = this.font;
    const widths = this.lanes.map((label) => context.measureText(clip(label, 20)).width);
    this.gutter = Math.min(Math.max(GUTTER.least, ...widths.map((width) => width + 14)), GUTTER.most);
  }

  async load(data) {
    this.clear(data);
    for (const chunk of data.chunks) await this.append(chunk);
    this.legend();
    this.draw();
  }

  // Intervals that have ended, in the order of their start within a chunk.
  async append(chunk) {
    if (!chunk.count) return;
    const bytes = await inflate(chunk.data);
    const n = chunk.count;
    const part = {
      start: new Uint32Array(bytes.buffer, 0, n),
      length: new Uint32Array(bytes.buffer, 4 * n, n),
      lane: new Uint16Array(bytes.buffer, 8 * n, n),
      name: new Uint16Array(bytes.buffer, 10 * n, n),
      flag: bytes.subarray(12 * n),
    };
    for (let i = 1; i < n; i++) part.start[i] += part.start[i - 1];
    this.begin = Math.min(this.begin, part.start[0]);
    for (let i = 0; i < n; i++) {
      this.end = Math.max(this.end, part.start[i] + part.length[i]);
      if (part.flag[i]) this.marked.add(part.flag[i]);
    }
    this.parts.push(part);
  }

  get all() {
    let { begin, end } = this;
    for (const one of this.live) {
      begin = Math.min(begin, one.start);
      end = Math.max(end, one.start + one.length);
    }
    if (begin > end) begin = 0; // nothing is known yet
    return [begin, end + (end - begin) * 0.005];
  }

  legend() {
    const list = this.section.querySelector(".legend");
    list.replaceChildren(
      ...this.names.slice(0, COLOURS).map((name, i) => entry(name, `name-${i}`)),
      ...(this.names.length > COLOURS ? [entry(`${this.names.length - COLOURS} more`, "name-other")] : []),
      ...STATES.filter((state, flag) => state && this.marked.has(flag)).map((state) => entry(state, kindOf(state))),
    );
  }

  get font() {
    return `11px ${getComputedStyle(this.canvas).fontFamily}`;
  }

  // --- drawing ---

  schedule() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.draw();
    });
  }

  get rowHeight() {
    const rows = Math.max(this.lanes.length, 1);
    return Math.min(Math.max(Math.floor(ROW.height / rows), ROW.least), ROW.most);
  }

  draw() {
    const { canvas } = this;
    const row = this.rowHeight;
    const width = Math.max(canvas.parentElement.clientWidth, 320);
    const height = AXIS + Math.max(this.lanes.length, 1) * row + 6;
    const scale = Math.min(window.devicePixelRatio || 1, 16000 / height);
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    this.width = width;
    const [from, to] = this.view || this.all;
    this.shown = [from, to];
    const perStep = (width - this.gutter) / (to - from);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.drawRows(context, row, width, colour);
    this.drawAxis(context, width, height, from, to, perStep, colour);
    context.save();
    context.beginPath();
    context.rect(this.gutter, AXIS, width - this.gutter, height - AXIS);
    context.clip();
    const fills = Array.from({ length: COLOURS }, (_, i) => colour(`name-${i}`));
    const other = colour("name-other");
    const marks = STATES.map((state) => state && colour(kindOf(state)));
    const last = new Float64Array(this.lanes.length).fill(-1); // pixels that are full, by row
    const gap = row > 8 ? 2 : 1;
    const rows = []; // of numbers: an array is quicker than a map
    for (const [number, place] of this.rows) rows[number] = place;
    for (const part of this.parts) {
      const { start, length, lane, name, flag } = part;
      last.fill(-1);
      for (let i = 0; i < start.length; i++) {
        if (start[i] > to || start[i] + length[i] < from) continue;
        const at = rows[lane[i]];
        if (at === undefined) continue;
        const x = this.gutter + (start[i] - from) * perStep;
        const size = Math.max(length[i] * perStep, 1);
        // What lies in a pixel that is drawn already is not drawn again, unless it failed.
        if (x + size <= last[at] && flag[i] !== 1) continue;
        last[at] = Math.ceil(x + size);
        context.fillStyle = marks[flag[i]] || fills[name[i]] || other;
        context.fillRect(x, AXIS + at * row + 1, size > 4 ? size - 0.6 : size, row - gap);
      }
    }
    context.globalAlpha = 0.55;
    for (const one of this.live) {
      const x = this.gutter + (one.start - from) * perStep;
      context.fillStyle = fills[one.name] || other;
      context.fillRect(x, AXIS + one.row * row + 1, Math.max(one.length * perStep, 1), row - gap);
    }
    context.restore();
  }

  drawRows(context, row, width, colour) {
    context.font = this.font;
    context.textBaseline = "middle";
    const every = Math.ceil(13 / row);
    for (let i = 0; i < this.lanes.length; i++) {
      const y = AXIS + i * row;
      if (i % 2 === 0) {
        context.fillStyle = colour("stripe");
        context.fillRect(this.gutter, y, width - this.gutter, row);
      }
      if (i % every === 0) {
        context.fillStyle = colour("muted");
        context.textAlign = "right";
        context.fillText(clip(this.lanes[i], 20), this.gutter - 10, y + row / 2);
      }
    }
  }

  drawAxis(context, width, height, from, to, perStep, colour) {
    if (!this.lanes.length) return; // nothing has run yet
    const [zero] = this.all;
    const seconds = (to - from) * this.tick;
    const step = nice(seconds / Math.max((width - this.gutter) / 110, 1));
    context.textAlign = "center";
    const first = Math.ceil(((from - zero) * this.tick) / step) * step;
    for (let at = first; at <= (to - zero) * this.tick; at += step) {
      const x = this.gutter + (at / this.tick + zero - from) * perStep;
      context.fillStyle = colour("line");
      context.fillRect(Math.round(x), AXIS - 4, 1, height - AXIS);
      context.fillStyle = colour("muted");
      const words = spell(at, step);
      const half = context.measureText(words).width / 2;
      context.fillText(words, Math.min(x, width - half), AXIS / 2);
    }
  }

  // --- moving ---

  zoom(factor, middle = 0.5) {
    const [from, to] = this.view || this.all;
    const [first, last] = this.all;
    const span = Math.min(Math.max((to - from) * factor, NEAREST), last - first);
    this.move(from + (to - from) * middle - span * middle, span);
  }

  pan(part) {
    const [from, to] = this.view || this.all;
    this.move(from + (to - from) * part, to - from);
  }

  move(from, span) {
    const [first, last] = this.all;
    const start = Math.min(Math.max(from, first), last - span);
    this.view = span >= last - first ? null : [start, start + span];
    this.schedule();
  }

  listen() {
    const { canvas } = this;
    const keys = {
      "+": () => this.zoom(0.6), "=": () => this.zoom(0.6), "-": () => this.zoom(1 / 0.6),
      ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2),
      Home: () => this.reset(), 0: () => this.reset(),
    };
    canvas.addEventListener("keydown", (event) => {
      const act = !event.ctrlKey && !event.metaKey && keys[event.key];
      if (act) { act(); event.preventDefault(); }
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        this.pan(event.deltaX / this.width);
      } else if (event.ctrlKey || event.shiftKey || document.activeElement === canvas) {
        this.zoom(Math.exp(event.deltaY / 300), this.part(event));
      } else return; // the page scrolls on, until the timeline was chosen
      event.preventDefault();
    }, { passive: false });
    const held = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      held.set(event.pointerId, event);
      canvas.setPointerCapture(event.pointerId);
      this.dragged = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return this.show(event);
      if (held.size === 2) this.pinch(held, event);
      else {
        this.dragged += Math.abs(event.offsetX - before.offsetX);
        this.pan((before.offsetX - event.offsetX) / (this.width - this.gutter));
      }
      held.set(event.pointerId, event);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => held.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    canvas.addEventListener("click", (event) => {
      const found = this.dragged < 4 && this.find(event);
      if (found && this.pick) this.pick(found);
    });
    const actions = { in: () => this.zoom(0.5), out: () => this.zoom(2), all: () => this.reset() };
    for (const button of this.section.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", actions[button.dataset.zoom]);
    }
    new ResizeObserver(() => this.schedule()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.schedule());
  }

  pinch(held, event) {
    const other = [...held.values()].find((each) => each.pointerId !== event.pointerId);
    const before = Math.abs(held.get(event.pointerId).offsetX - other.offsetX);
    const now = Math.abs(event.offsetX - other.offsetX);
    if (before > 0 && now > 0) this.zoom(before / now, this.part(other));
  }

  reset() {
    this.view = null;
    this.schedule();
  }

  part(event) {
    return Math.min(Math.max((event.offsetX - this.gutter) / (this.width - this.gutter), 0), 1);
  }

  // --- telling ---

  find(event) {
    if (event.offsetX < this.gutter || !this.shown) return null;
    const [from, to] = this.shown;
    const perPixel = (to - from) / (this.width - this.gutter);
    const at = from + (event.offsetX - this.gutter) * perPixel;
    const row = Math.floor((event.offsetY - AXIS) / this.rowHeight);
    const lane = [...this.rows.keys()][row];
    let best = null;
    let before = 0;
    for (const part of this.parts) {
      for (let i = 0; i < part.start.length; i++) {
        if (part.lane[i] !== lane || part.start[i] > at + perPixel) continue;
        const short = at - (part.start[i] + part.length[i]);
        if (short <= perPixel && (!best || part.start[i] >= best.start)) {
          best = {
            number: before + i, start: part.start[i], length: part.length[i],
            name: part.name[i], row, flag: part.flag[i],
          };
        }
      }
      before += part.start.length;
    }
    return best;
  }

  show(event) {
    const found = this.find(event);
    this.tip.hidden = !found;
    this.canvas.style.cursor = found && this.pick ? "pointer" : "";
    if (!found) return;
    const state = STATES[found.flag];
    this.tip.textContent =
      `${this.names[found.name] || "other"}${state && ` · ${state}`}\n` +
      `${spell(found.length * this.tick)} from ${spell((found.start - this.all[0]) * this.tick)}\n` +
      this.lanes[found.row];
    const right = event.offsetX > this.width / 2;
    this.tip.style.left = right ? "" : `${event.offsetX + 14}px`;
    this.tip.style.right = right ? `${this.width - event.offsetX + 14}px` : "";
    this.tip.style.top = `${event.offsetY + 14}px`;
  }
}

function entry(name, kind) {
  const item = document.createElement("li");
  const dot = document.createElement("span");
  dot.className = `dot ${kind}`;
  item.append(dot, clip(name, 32));
  return item;
}

function clip(text, limit) {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The next of 1, 2, 5 times a power of ten.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= value * 0.999);
}

// Seconds in words, as exact as a step is.
function spell(seconds, step = seconds) {
  if (seconds === 0) return "0";
  if (step >= 3600) return `${trim(seconds / 3600)} h`;
  if (step >= 60) return `${trim(seconds / 60)} min`;
  if (step >= 1 || seconds >= 10) return `${trim(seconds, step)} s`;
  if (seconds >= 1) return `${trim(seconds, step)} s`;
  return seconds >= 1e-3 ? `${trim(seconds * 1e3, step * 1e3)} ms` : `${trim(seconds * 1e6, step * 1e6)} µs`;
}

function trim(value, step = value) {
  const digits = Math.min(Math.max(1 - Math.floor(Math.log10(Math.abs(step) || 1)), 0), 6);
  return String(Number(value.toFixed(digits)));
}

const data = document.getElementById("timeline-data");
if (data) {
  const timeline = new Timeline(document.getElementById("timeline"));
  timeline.load(JSON.parse(data.textContent));
}
