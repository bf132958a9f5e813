"use strict";
// Line charts over steps. Lines are stretched SVG, text is HTML beside it, so that text keeps its size at any width.

function element(name, classes, text) {
  const node = document.createElement(name);
  if (classes) node.className = classes;
  if (text !== undefined) node.textContent = text;
  return node;
}

// The SVG namespace is read from a parsed element, so that this file names no address at all.
const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;

function drawn(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

function shortNumber(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 0.001 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

function niceTicks(low, high) {
  const raw = (high - low) / 3 || 1;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const pitch = [1, 2, 2.5, 5, 10].map((factor) => factor * unit).find((candidate) => candidate >= raw);
  const ticks = [];
  for (let at = Math.ceil(low / pitch - 1e-9) * pitch; at <= high + 1e-9 * pitch; at += pitch) ticks.push(Number(at.toPrecision(6)));
  return ticks;
}

function stepTicks(steps, starts) {
  if (starts.length > 1 && starts.length < 9) return [0, ...starts];
  const pitch = niceTicks(0, Math.max(steps - 1, 1) / 2)[1] || 1;
  const ticks = [];
  for (let at = 0; at < steps; at += Math.max(1, Math.round(pitch))) ticks.push(at);
  return ticks;
}

function valueRange(spec) {
  if (spec.span === "unit") return [0, 1];
  const ends = spec.grid ? spec.lines.flatMap((line) => [...(line.low || []), ...(line.high || [])]) : [];
  const values = [...spec.lines.flatMap((line) => line.values), ...ends].filter((value) => value !== null);
  const low = Math.min(0, ...values), high = Math.max(...values);
  return high > low ? [low, high + 0.04 * (high - low)] : [low, low + 1];
}

// The entry of a list of steps that is nearest to a step; of two equally near ones the first.
const nearest = (grid, step) => grid.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best), grid[0]);

// spec: {title, unit, span, lines: [{label, role, n, values, low, high}], why_not, spikes, grid}; page: {steps, starts}; onPick(step) optional.
// grid: the only steps with values, if they are few; each is drawn as a dot, and the numbers are those of the nearest.
function chart(spec, page, onPick) {
  const root = element("div", "chart"), plot = element("div", "plot");
  root.append(element("h4", "", spec.title));
  if (spec.unit) root.append(element("div", "quiet", spec.unit));
  const key = element("div", "key"), readout = element("div", "readout");
  for (const line of spec.lines.length > 1 || spec.lines.some((each) => each.n) ? spec.lines : []) {
    const item = element("span", "role-" + line.role);
    item.append(element("i"), document.createTextNode(line.label + (line.n ? ` (n = ${line.n})` : "")));
    key.append(item);
  }
  if (key.childElementCount) root.append(key);
  root.append(plot, readout);
  if (!spec.lines.length) {
    plot.append(element("div", "why", spec.why_not));
    return { root, moveTo() {} };
  }
  const [low, high] = valueRange(spec), last = Math.max(page.steps - 1, 1);
  const x = (step) => (100 * step) / last, y = (value) => (100 * (high - value)) / (high - low);
  const svg = drawn("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": describe(spec) }, plot);
  for (const tick of niceTicks(low, high)) {
    drawn("line", { x1: 0, x2: 100, y1: y(tick), y2: y(tick), class: "grid" }, svg);
    plot.append(placed("tick y", shortNumber(tick), "top", y(tick)));
  }
  for (const start of page.starts) drawn("line", { x1: x(start - 0.5), x2: x(start - 0.5), y1: 0, y2: 100, class: "start" }, svg);
  for (const tick of stepTicks(page.steps, page.starts)) plot.append(placed("tick x", String(tick), "left", x(tick)));
  for (const line of [...spec.lines].reverse()) drawLine(svg, line, x, y, Boolean(spec.grid));
  for (const step of spec.spikes || []) {
    const mark = placed("spike", "▼", "left", x(step));
    mark.style.top = y(spec.lines[0].values[step]) + "%";
    plot.append(mark);
  }
  const cursor = element("div", "cursor");
  plot.append(cursor);
  const moveTo = (step) => {
    cursor.style.left = x(step) + "%";
    const at = spec.grid ? nearest(spec.grid, step) : step;
    readout.textContent = `step ${at}: ` + spec.lines.map((line) => `${line.label} ${withInterval(line, at)}`).join("  ·  ");
  };
  moveTo(page.steps - 1);
  const picked = (event) => {
    const box = plot.getBoundingClientRect();
    return Math.min(page.steps - 1, Math.max(0, Math.round(((event.clientX - box.left) / box.width) * last)));
  };
  plot.addEventListener("pointermove", (event) => { if (!onPick || event.buttons) (onPick || moveTo)(picked(event)); });
  plot.addEventListener("pointerdown", (event) => (onPick || moveTo)(picked(event)));
  return { root, moveTo };
}

function placed(classes, text, side, percent) {
  const node = element("span", classes, text);
  node.style[side] = percent + "%";
  return node;
}

const isKnown = (value) => value !== null && value !== undefined;

function withInterval(line, step) {
  const [low, high] = line.low ? [line.low[step], line.high[step]] : [null, null];
  return shortNumber(line.values[step]) + (isKnown(low) && isKnown(high) ? ` (${shortNumber(low)} to ${shortNumber(high)})` : "");
}

function describe(spec) {
  return `${spec.title}, ${spec.unit}. ` + spec.lines.map((line) => {
    const known = line.values.filter((value) => value !== null);
    return `${line.label}: from ${shortNumber(known[0])} to ${shortNumber(known[known.length - 1])}`;
  }).join("; ");
}

// Skipped steps hold no value; the line joins the steps around them. A lone value is drawn as a dot.
function drawLine(svg, line, x, y, dotted) {
  const known = line.values.map((value, step) => [step, value, line.low ? line.low[step] : null, line.high ? line.high[step] : null]).filter((point) => point[1] !== null);
  if (!known.length) return;
  const banded = known.filter((point) => isKnown(point[2]) && isKnown(point[3]));
  if (banded.length > 1) {
    const upper = banded.map(([step, , , high]) => `${x(step)} ${y(high)}`);
    const lower = banded.map(([step, , low]) => `${x(step)} ${y(low)}`).reverse();
    drawn("path", { d: `M${upper.concat(lower).join("L")}Z`, class: `band role-${line.role}` }, svg);
  }
  const path = known.map(([step, value]) => `${x(step)} ${y(value)}`);
  drawn("path", { d: `M${path.length > 1 ? path.join("L") : `${path[0]}h0.01`}`, class: `role-${line.role}` }, svg);
  if (dotted) for (const point of path) drawn("path", { d: `M${point}h0.01`, class: `dot role-${line.role}` }, svg);
}
