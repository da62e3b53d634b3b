"use strict";
// The live page: parts that the server draws are put in their places; the timeline and the stream
// of tasks ask for what they show.

const ROW_HEIGHT = 32;
const AROUND = 20; // rows beyond what is seen
const TALLEST = 8e6; // pixels: browsers know no taller elements; rows are then scrolled in steps
const RETRY = [0.5, 1, 2, 5, 10]; // seconds until it is connected again

// --- asking ---

function token() {
  const given = decodeURIComponent(location.hash.slice(1));
  if (given && !given.includes("=")) {
    localStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname); // it shall not be seen, nor kept as a link
  }
  return localStorage.getItem("token") || "";
}

const TOKEN = token();

async function ask(path, options = {}) {
  const reply = await fetch(`/api/${path}`, { ...options, headers: { Authorization: `Bearer ${TOKEN}` } });
  if (reply.status === 401) {
    localStorage.removeItem("token");
    throw new Refused("Open the link that armoflow printed: it holds the token.");
  }
  if (reply.status === 404) throw new Refused((await reply.json()).error);
  if (!reply.ok) throw new Error((await reply.text()) || reply.statusText);
  return reply;
}

class Refused extends Error {}

// Messages of a stream of server-sent events, for which EventSource could send no token.
async function* events(path) {
  const reader = (await ask(path)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      if (message.startsWith("data: ")) yield JSON.parse(message.slice(6));
    }
  }
}

async function follow(path, take) {
  let tries = 0;
  for (;;) {
    try {
      for await (const message of events(path)) {
        tries = 0;
        connected(true);
        await take(message);
      }
    } catch (error) {
      if (error instanceof Refused) {
        tell(error.message);
        connected(false, "not connected");
        return;
      }
      console.info(error);
    }
    connected(false, "connecting again");
    const pause = RETRY[Math.min(tries++, RETRY.length - 1)];
    await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
  }
}

function connected(live, words = "live") {
  const status = document.getElementById("connection");
  status.classList.toggle("live", live);
  if (status.textContent !== words) status.textContent = words;
}

function tell(words) {
  const place = document.getElementById("trouble");
  place.textContent = words;
  place.hidden = !words;
}

// --- parts ---

// All is read before anything is changed: in turns, the browser would lay out the page each time.
function put(parts) {
  const changes = Object.entries(parts).map(([id, html]) => change(id, html)).filter(Boolean);
  for (const { old, fresh } of changes) old.replaceWith(fresh);
  for (const { fresh, focus, moved } of changes) {
    if (focus >= 0) focusable(fresh)[focus]?.focus({ preventScroll: true });
    const boxes = moved.length ? fresh.querySelectorAll(MOVED) : [];
    for (const [i, left, top] of moved) boxes[i]?.scrollTo(left, top);
  }
}

// What the viewer has opened, moved or chosen stays so.
function change(id, html) {
  const old = document.getElementById(id);
  if (!old) return null;
  const template = document.createElement("template");
  template.innerHTML = html;
  const fresh = template.content.firstElementChild;
  const before = new Map([...old.querySelectorAll("details")].map((each) => [title(each), each.open]));
  for (const each of fresh.querySelectorAll("details")) {
    if (before.has(title(each))) each.open = before.get(title(each));
  }
  const moved = [...old.querySelectorAll(MOVED)]
    .map((each, i) => [each, i])
    .filter(([each]) => scrolled.has(each))
    .map(([each, i]) => [i, each.scrollLeft, each.scrollTop]);
  return { old, fresh, focus: old.contains(document.activeElement) ? place(old) : -1, moved };
}

const MOVED = ".wide, pre";
const scrolled = new WeakSet(); // only these are asked where they are: it takes a layout
document.addEventListener("scroll", (event) => scrolled.add(event.target), { capture: true, passive: true });
const title = (details) => details.querySelector("summary").lastChild.textContent;
const focusable = (element) => [...element.querySelectorAll("a, button, summary, [tabindex]")];
const place = (element) => focusable(element).indexOf(document.activeElement);

// --- one task ---

async function showTask(id) {
  const dialog = document.getElementById("task");
  try {
    const { html } = await (await ask(`tasks/${encodeURIComponent(id)}`)).json();
    dialog.querySelector("div").innerHTML = html;
    if (!dialog.open) dialog.showModal();
  } catch (error) {
    tell(error.message);
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-task]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  showTask(link.dataset.task);
});

document.getElementById("task").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close(); // beside it
});

// --- the stream of tasks: only the rows that are seen are there ---

class Stream {
  constructor(section, path) {
    this.path = path;
    this.box = section.querySelector(".stream");
    this.body = section.querySelector("tbody");
    this.table = section.querySelector("table");
    this.count = section.querySelector("[role=status]");
    this.form = section.querySelector("form");
    this.total = 0;
    this.box.addEventListener("scroll", () => this.schedule());
    this.form.addEventListener("input", () => { this.box.scrollTop = 0; this.refresh(); });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    new ResizeObserver(() => this.schedule()).observe(this.box);
  }

  schedule() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.refresh();
    });
  }

  // Which rows are seen: the scroll bar stands for all of them, whatever the tallest element is.
  get first() {
    const whole = this.total * ROW_HEIGHT;
    const scale = Math.max(whole / TALLEST, 1);
    return Math.max(Math.floor((this.box.scrollTop * scale) / ROW_HEIGHT) - AROUND, 0);
  }

  async refresh() {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    do {
      this.again = false;
      const count = Math.ceil(this.box.clientHeight / ROW_HEIGHT) + 2 * AROUND;
      const first = Math.min(this.first, Math.max(this.total - count + AROUND, 0));
      const query = new URLSearchParams(new FormData(this.form));
      query.set("from", first);
      query.set("count", count);
      try {
        const { total, kept, rows } = await (await ask(`${this.path}/tasks?${query}`)).json();
        this.draw(first, total, rows);
        this.tell(total, kept);
      } catch (error) {
        console.info(error);
      }
    } while (this.again);
    this.asking = false;
  }

  tell(total, kept) {
    const of = kept === null ? "" : ` of the first ${kept.toLocaleString("en")}`;
    const words = `${total.toLocaleString("en")}${of} tasks that have ended, the latest first`;
    if (this.count.textContent !== words) this.count.textContent = words;
  }

  draw(first, total, rows) {
    // Whoever reads further down stays with what is read, while more comes above.
    const before = this.box.scrollTop > ROW_HEIGHT && this.total ? total - this.total : 0;
    this.total = total;
    const scale = Math.min(TALLEST / (total * ROW_HEIGHT || 1), 1);
    const above = first * ROW_HEIGHT * scale;
    const below = Math.max(total * ROW_HEIGHT * scale - above - rows.length * ROW_HEIGHT, 0);
    const active = this.body.contains(document.activeElement) ? document.activeElement.dataset.task : "";
    this.body.replaceChildren(space(above), ...rows.map((row, i) => line(row, first + i)), space(below));
    this.table.setAttribute("aria-rowcount", total + 1);
    if (active) this.body.querySelector(`[data-task="${CSS.escape(active)}"]`)?.focus({ preventScroll: true });
    if (before > 0 && scale === 1 && !this.form.elements.name.value) this.box.scrollTop += before * ROW_HEIGHT;
  }
}

function space(height) {
  const row = document.createElement("tr");
  row.className = "space";
  row.ariaHidden = "true";
  const cell = row.insertCell();
  cell.colSpan = 6;
  cell.style.height = `${height}px`;
  return row;
}

function line(run, number) {
  const row = document.createElement("tr");
  row.className = run.failed ? "failed" : run.state;
  row.setAttribute("aria-rowindex", number + 2);
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = run.name;
  const link = document.createElement("a");
  link.href = `#task=${run.id}`;
  link.dataset.task = run.id;
  link.append(Object.assign(document.createElement("code"), { textContent: run.id }));
  const state = run.failed ? `${run.state}, ${run.failed} failed inside` : run.state;
  const cells = [link, state, run.pod, run.ran === null ? "" : spell(run.ran), clock(run.ended)];
  row.append(head, ...cells.map((content, i) => {
    const cell = document.createElement("td");
    if (i > 2) cell.className = "number";
    cell.append(content);
    return cell;
  }));
  return row;
}

const clock = (seconds) => (seconds === null ? "" : new Date(seconds * 1000).toLocaleTimeString("en-GB"));

// --- pages ---

function build(name, jumps) {
  const page = document.getElementById(name).content.cloneNode(true);
  document.getElementById("main").replaceChildren(page);
  const links = jumps.map(([id, words]) => {
    const link = document.createElement("a");
    link.href = `#${id}`;
    link.textContent = words;
    return link;
  });
  document.getElementById("jump").replaceChildren(...links);
}

function overviewPage() {
  build("overview-page", []);
  document.title = "Sessions · armoflow";
  follow("overview", ({ parts }) => put(parts));
}

function sessionPage(id) {
  build("session-page", [
    ["timeline", "Timeline"], ["tasks", "Tasks"], ["failures", "Failures"], ["stream", "Stream"],
    ["graph", "Graph"], ["path", "Critical path"], ["workers", "Workers"],
  ]);
  const path = `sessions/${encodeURIComponent(id)}`;
  const timeline = new Timeline(document.getElementById("timeline"));
  const stream = new Stream(document.getElementById("stream"), path);
  let known = -1;
  follow(path, async ({ parts, known: now, live, frame, chunks, anew }) => {
    const start = performance.now();
    put(parts);
    document.title = `${document.querySelector("h1").firstChild.textContent.trim()} · armoflow`;
    if (anew) timeline.clear(frame);
    else timeline.frame(frame);
    for (const chunk of chunks) await timeline.append(chunk);
    if (now !== known || parts.failures) stream.refresh();
    if (now !== known) timeline.legend();
    known = now;
    timeline.live = live.map(([start, length, row, name]) => ({ start, length, row: timeline.rows.get(row), name }));
    timeline.schedule();
    requestAnimationFrame(() => measured(start)); // after it is drawn
  });
}

// Seen in a browser's trace: from a message to what is drawn of it.
function measured(start) {
  performance.clearMeasures("update");
  performance.measure("update", { start });
}

const session = location.pathname.match(/^\/sessions\/([^/]+)$/);
if (session) sessionPage(decodeURIComponent(session[1]));
else overviewPage();
