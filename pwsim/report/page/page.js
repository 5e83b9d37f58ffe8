"use strict";
// Steps through a run. The data was written by html.py; every text from it is set as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const steps = data.steps;
const last = steps.length - 1;
const HEIGHT = 26;
const laneWidth = Math.max(56, Math.min(84, Math.floor(480 / data.lanes.length)));
const byId = (id) => document.getElementById(id);

function make(kind, className, text) {
  const element = document.createElement(kind);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function draw(kind, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// ── views: the state after each step, from the differences ─────────────────────────────────────

const views = [new Map(Object.entries(data.first))];
for (const step of steps) {
  const view = new Map(views[views.length - 1]);
  for (const [key, row] of Object.entries(step.set)) view.set(key, row);
  for (const key of step.gone) view.delete(key);
  views.push(view);
}

function parts(key) {
  const [section, order, ...name] = key.split("/");
  return { section, order, name: name.join("/") };
}

function depth(view, lane) {
  let count = 0;
  for (const [key, row] of view) {
    const { section, name } = parts(key);
    if (section === "queue" && `queue ${name}` === lane.name && row.is === "ready") count++;
  }
  return count;
}

// ── the diagram ────────────────────────────────────────────────────────────────────────────────

const hues = new Map();
function colour(call) {
  if (!hues.has(call)) hues.set(call, 35 + ((hues.size * 113) % 290)); // red is kept for faults
  return `hsl(${hues.get(call)} 60% var(--call))`;
}

const middle = (lane) => (lane + 0.5) * laneWidth;

function drawLane(svg, lane, index, n) {
  const x = middle(index);
  svg.append(draw("line", { class: `lane ${lane.kind}`, x1: x, x2: x, y1: 0, y2: HEIGHT }));
  for (const busy of lane.busy || []) {
    if (n < busy.from || n > busy.to) continue;
    const frozen = (at) => busy.frozen.some(([from, to]) => at > from && at < to + 1);
    const half = (y1, y2, isFrozen) => {
      const line = draw("line", { class: isFrozen ? "frozen" : "busy", x1: x, x2: x, y1, y2 });
      if (!isFrozen) line.style.stroke = colour(busy.call);
      svg.append(line);
    };
    if (n > busy.from) half(0, HEIGHT / 2, frozen(n));
    if (n < busy.to) half(HEIGHT / 2, HEIGHT, frozen(n + 1));
  }
}

function drawArrow(svg, step, arrow) {
  const from = middle(arrow.from), to = middle(arrow.to), y = HEIGHT / 2;
  const sign = Math.sign(to - from);
  const own = step.fault || step.came === "refused" ? "var(--bad)" : colour(step.call);
  const line = draw("line", { class: "arrow", x1: from + sign * 6, x2: to - sign * 13, y1: y, y2: y });
  const head = draw("path", { d: `M ${to - sign * 8} ${y} l ${-sign * 7} -4 v 8 z` });
  line.style.stroke = own;
  head.style.fill = own;
  if (step.fault || step.came === "refused") line.setAttribute("stroke-dasharray", "4 3");
  svg.append(line, head);
}

function drawEnd(svg, view, laneIndex) {
  const lane = data.lanes[laneIndex], x = middle(laneIndex), y = HEIGHT / 2;
  if (lane.kind === "process") return;
  svg.append(draw("circle", { class: "depth", cx: x, cy: y, r: lane.kind === "queue" ? 8 : 4 }));
  if (lane.kind === "queue") svg.append(draw("text", { class: "depth-text", x, y }, depth(view, lane)));
}

function drawDot(svg, step) {
  const x = middle(step.lane), y = HEIGHT / 2;
  if (step.fault) {
    svg.append(draw("circle", { class: "struck", cx: x, cy: y, r: 8 }));
    svg.append(draw("path", { class: "cross", d: `M ${x - 4} ${y - 4} l 8 8 m 0 -8 l -8 8` }));
    return;
  }
  const dot = draw("circle", { cx: x, cy: y, r: step.label === "run" ? 7 : 5 });
  dot.style.fill = colour(step.call);
  svg.append(dot);
}

function picture(step, index) {
  const width = data.lanes.length * laneWidth;
  const svg = draw("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  data.lanes.forEach((lane, i) => drawLane(svg, lane, i, step.n));
  for (const arrow of step.arrows) drawArrow(svg, step, arrow);
  for (const arrow of step.arrows) for (const end of [arrow.from, arrow.to]) drawEnd(svg, views[index + 1], end);
  drawDot(svg, step);
  return svg;
}

function row(step, index) {
  const element = make("div", step.fault ? "row step has-fault" : "row step");
  element.id = `step-${step.n}`;
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", "false");
  element.append(make("span", "number", step.n), make("span", "time", step.time), picture(step, index));
  const what = make("span", "what mono");
  what.append(make("span", "call", `${step.short} #${step.nth}  `), make("b", "", step.label));
  if (step.came) what.append(make("span", step.came === "refused" ? "came refused" : "came", `  ${step.came}`));
  what.title = `${step.call} #${step.nth}  ${step.label}`;
  element.append(what);
  element.addEventListener("click", () => select(index));
  return element;
}

function drawDiagram() {
  const names = make("div", "names");
  for (const lane of data.lanes) {
    const name = make("span", lane.kind, lane.name);
    name.style.width = `${laneWidth}px`;
    name.title = lane.name;
    names.append(name);
  }
  byId("lanes").append(make("span"), make("span"), names);
  byId("rows").append(...steps.map(row));
  byId("skipped").textContent = `${data.skipped} steps before these are left out`;
  byId("skipped").hidden = !data.skipped;
  byId("ending").textContent = data.ending;
}

// ── the selected step ──────────────────────────────────────────────────────────────────────────

let selected = -1;

function select(index) {
  index = Math.max(0, Math.min(last, index));
  if (index === selected || last < 0) return;
  if (selected >= 0) byId(`step-${steps[selected].n}`).setAttribute("aria-selected", "false");
  selected = index;
  const step = steps[index], element = byId(`step-${step.n}`);
  element.setAttribute("aria-selected", "true");
  byId("rows").setAttribute("aria-activedescendant", element.id);
  reveal(element);
  byId("slider").value = index;
  byId("where").textContent = `step ${step.n} of ${steps[last].n}`;
  byId("back").disabled = byId("home").disabled = index === 0;
  byId("next").disabled = byId("end").disabled = index === last;
  byId("state").replaceChildren(...describe(step, views[index], views[index + 1]));
  try { history.replaceState(null, "", `#step=${step.n}`); } catch { /* not everywhere allowed for files */ }
}

function reveal(element) {
  const box = byId("diagram"), head = byId("lanes").offsetHeight;
  const top = element.offsetTop - head - HEIGHT * 2, bottom = element.offsetTop + HEIGHT * 3;
  if (selected === last) box.scrollTop = box.scrollHeight;
  else if (top < box.scrollTop) box.scrollTop = top;
  else if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
}

function describe(step, before, after) {
  const found = [make("h2", "mono", step.came ? `${step.label} (${step.came})` : step.label)];
  found.push(make("p", "sub", `${data.lanes[step.lane].name} at ${step.time}, in ${step.call} #${step.nth}`));
  const address = make("p", "sub", "address ");
  address.append(make("code", "", step.address));
  found.push(address);
  if (step.about) found.push(make("p", "about", step.about));
  for (const [section, heading] of Object.entries(data.sections)) found.push(...group(section, heading, before, after));
  const legend = make("p", "legend", "against the step before: ");
  for (const kind of ["new", "changed", "gone"]) {
    const mark = make("span", "", kind);
    mark.style.background = `var(--${kind})`;
    legend.append(mark, " ");
  }
  found.push(legend);
  return found;
}

function group(section, heading, before, after) {
  const keys = [...new Set([...before.keys(), ...after.keys()])].filter((key) => parts(key).section === section);
  if (!keys.length) return [];
  if (section !== "worker") keys.sort();
  return [make("h3", "", heading), ...keys.map((key) => item(key, before.get(key), after.get(key)))];
}

function item(key, old, now) {
  const cells = now || old;
  const same = old && now && JSON.stringify(old) === JSON.stringify(now);
  const kind = !old ? "new" : !now ? "gone" : same ? "" : "changed";
  const element = make("div", `item ${kind}`);
  if (kind) element.append(make("span", "tag", kind));
  element.append(make("span", "name mono", parts(key).name), "  ");
  for (const name of new Set([...Object.keys(cells), ...Object.keys(old || {})])) {
    element.append(cell(name, kind === "changed" ? old[name] : cells[name], cells[name]));
  }
  return element;
}

const PLAIN = new Set(["does", "message", "is", "state"]); // their values say what they are

function cell(name, old, now) {
  const element = make("span", old === now ? "cell" : "cell differs");
  if (!PLAIN.has(name)) element.append(make("i", "", `${name} `));
  if (old !== now && old !== undefined) element.append(make("del", "mono", old));
  if (now !== undefined) element.append(make("span", "mono", now));
  return element;
}

// ── moving about ───────────────────────────────────────────────────────────────────────────────

function toFault(direction) {
  for (let index = selected + direction; index >= 0 && index <= last; index += direction) {
    if (steps[index].fault) return select(index);
  }
}

function toNumber(number) {
  const index = steps.findIndex((step) => step.n >= number);
  select(index < 0 ? last : index);
}

function toggleHelp() {
  const help = byId("help");
  help.hidden = !help.hidden;
  byId("help-button").setAttribute("aria-expanded", String(!help.hidden));
  if (selected >= 0) reveal(byId(`step-${steps[selected].n}`));
}

const KEYS = {
  ArrowRight: () => select(selected + 1), ArrowDown: () => select(selected + 1), j: () => select(selected + 1),
  ArrowLeft: () => select(selected - 1), ArrowUp: () => select(selected - 1), k: () => select(selected - 1),
  Home: () => select(0), End: () => select(last),
  f: () => toFault(1), F: () => toFault(-1),
  "?": toggleHelp,
};

document.addEventListener("keydown", (event) => {
  const action = KEYS[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});

for (const [id, action] of Object.entries({
  home: KEYS.Home, back: KEYS.k, next: KEYS.j, end: KEYS.End, fault: KEYS.f, "help-button": toggleHelp,
})) byId(id).addEventListener("click", action);
byId("slider").addEventListener("input", (event) => select(Number(event.target.value)));
window.addEventListener("hashchange", fromAddress);
byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(data.replay);
    byId("copy").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(byId("replay")); // no clipboard here: at least it is selected
  }
});

function fromAddress() {
  const wanted = /^#step=(\d+)$/.exec(location.hash);
  if (wanted) toNumber(Number(wanted[1]));
  return Boolean(wanted);
}

function drawHead() {
  document.title = `pwsim: ${data.title}`;
  document.body.classList.toggle("is-broken", Boolean(data.broken));
  byId("title").textContent = data.title;
  byId("replay").textContent = data.replay;
  for (const fault of data.faults) {
    const button = make("button", "fault mono", fault.step ? fault.address : `${fault.address} (did not strike)`);
    button.type = "button";
    button.disabled = !fault.step;
    button.addEventListener("click", () => toNumber(fault.step));
    byId("faults").append(button);
  }
  byId("faults-row").hidden = !data.faults.length;
  byId("fault").hidden = !steps.some((step) => step.fault);
  byId("parting-row").hidden = !data.parting;
  if (data.parting) {
    byId("parting").textContent = data.parting.text.replace(/^parts /, "");
    byId("parting").addEventListener("click", () => toNumber(data.parting.step));
  }
  byId("slider").max = Math.max(0, last);
}

drawHead();
drawDiagram();
if (!fromAddress()) {
  const struck = steps.findIndex((step) => step.fault);
  select(struck < 0 ? last : struck);
}
