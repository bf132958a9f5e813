// The page: header, problem list, and the token canvas of the chosen problem. Text reaches the document as text nodes only.

const page = JSON.parse(document.getElementById("page-data").textContent);
page.starts = page.blocks.flatMap((block, step) => (step && block !== page.blocks[step - 1] ? [step] : []));
const byId = (id) => document.getElementById(id);
const VERDICT = { correct: ["✓", "correct"], wrong: ["✗", "wrong"], unextracted: ["✗", "no answer found"], ungraded: ["–", "no gold answer"], ambiguous: ["?", "a number that can be read two ways"] };
const MEASURE = { confidence: "confidence", entropy: "entropy", kl: "KL" };
const CIVIDIS = [[0, 34, 78], [26, 56, 111], [67, 78, 108], [97, 101, 111], [125, 124, 120], [155, 148, 118], [188, 174, 108], [222, 201, 88], [254, 232, 56]];
const state = { filter: "all", measure: "confidence", step: 0, problem: null, cells: [], gold: null, open: null, timer: null };

function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1), low = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return CIVIDIS[low].map((part, index) => Math.round(part + (CIVIDIS[low + 1][index] - part) * (at - low)));
}
const css = (colour) => `rgb(${colour.join(",")})`;
const inkOn = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#10151a" : "#ffffff");

function bytes(text) {
  const raw = atob(text), out = new Uint8Array(raw.length);
  for (let index = 0; index < raw.length; index += 1) out[index] = raw.charCodeAt(index);
  return out;
}

function unpack(problem) {
  if (problem.unpacked) return problem.unpacked;
  const raw = bytes(problem.shown), wide = page.token_bytes, shown = [];
  for (let at = 0; at < raw.length; at += wide) {
    let value = 0;
    for (let part = wide - 1; part >= 0; part -= 1) value = value * 256 + raw[at + part];
    shown.push(value);
  }
  const flags = bytes(problem.flags), measures = {}, cells = page.steps * page.positions;
  for (const name of Object.keys(MEASURE)) measures[name] = bytes(problem[name]);
  const writtenAt = new Int32Array(cells).fill(-1);
  for (let at = 0; at < cells; at += 1)
    writtenAt[at] = flags[at] & 2 ? Math.floor(at / page.positions) : at < page.positions ? -1 : writtenAt[at - page.positions];
  problem.unpacked = { shown, flags, measures, writtenAt };
  return problem.unpacked;
}

function valueOf(byte, name) {
  const coding = page.codings[name];
  return byte === 255 ? null : coding.scale * (byte / 254) ** coding.power;
}

// The byte that colours a position: the value of its commit once committed (if held), else that of this step.
function byteAt(data, name, step, position) {
  const at = step * page.positions + position, masked = data.flags[at] & 1;
  const source = !masked && byId("hold").checked && data.writtenAt[at] >= 0 ? data.writtenAt[at] : step;
  return data.measures[name][source * page.positions + position];
}

function visible(text) {
  if (text === "") return "∅";
  return text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ +$/, (spaces) => "␣".repeat(spaces.length));
}

function segments(root, name, options, onChange) {
  options.forEach(([value, text], index) => {
    const label = element("label"), input = element("input");
    Object.assign(input, { type: "radio", name, value, checked: index === 0 });
    input.addEventListener("change", () => onChange(value));
    label.append(input, document.createTextNode(text));
    root.append(label);
  });
}

const unfinished = () => (page.n_missing ? ` · unfinished, ${page.n_missing} missing` : "");

function header() {
  byId("run").textContent = page.run;
  byId("about").textContent = [page.model, page.architecture, page.source, page.created].filter(Boolean).join(" · ");
  const { correct, wrong, unextracted, no_gold: ungraded, ambiguous } = page.counts, percent = (share) => (100 * share).toFixed(1);
  const interval = page.interval ? `95 %: ${percent(page.interval[0])} to ${percent(page.interval[1])}, n = ${page.graded}` : "nothing graded";
  const over = page.whole_interval ? `; ${percent(page.whole_interval[0])} to ${percent(page.whole_interval[1])} ${page.scope}` : page.scope ? `; ${page.scope}` : "";
  const tiles = [
    ["Accuracy", page.graded ? percent(correct / page.graded) + " %" : "–", interval + over + unfinished()],
    ["Problems", String(page.n_stored), page.unfinished || "all done"],
    ["Verdicts", `${correct} ✓  ${wrong + unextracted + ambiguous} ✗`, `${unextracted} without an answer, ${ambiguous} ambiguous, ${ungraded} without gold${unfinished()}`],
    ["Canvas", `${page.positions} positions`, page.canvas],
  ];
  for (const [name, value, small] of tiles) {
    const tile = element("div"), described = element("dd", "", value);
    described.append(element("small", "", small));
    tile.append(element("dt", "", name), described);
    byId("tiles").append(tile);
  }
  for (const [name, value] of page.settings) {
    const row = element("div");
    row.append(element("dt", "", name), element("dd", "", value));
    byId("settings").querySelector("dl").append(row);
  }
}

function curves() {
  byId("curves-note").textContent = page.analysed
    ? "Means over problems with 95 % bands where one is defined. Dotted lines: a new block begins. Point at a chart for its numbers." + page.ends.map((sentence) => ` ${sentence}`).join("")
    : "This run has not been analysed yet, so there are no curves. Type: diffengine analyze, then: diffengine report.";
  for (const caveat of [page.unfinished, page.analysed && page.stale && `The curves do not fit the rest of the page: ${page.stale}`])
    if (caveat) byId("curves-note").append(element("strong", "caveat", ` ${caveat[0].toUpperCase()}${caveat.slice(1)}.`));
  for (const spec of page.charts) byId("curves").append(chart(spec, page).root);
}

function listed() {
  const wanted = byId("search").value.trim().toLowerCase();
  return page.problems.filter((problem) => {
    const wrong = ["wrong", "unextracted", "ambiguous"].includes(problem.verdict);
    if (state.filter === "correct" ? problem.verdict !== "correct" : state.filter === "wrong" && !wrong) return false;
    return [problem.id, problem.question, problem.answer || "", problem.generated_text].some((text) => text.toLowerCase().includes(wanted));
  });
}

function list() {
  const found = listed(), root = byId("list");
  byId("found").textContent = `${found.length} of ${page.problems.length} problems`;
  root.replaceChildren(...found.map((problem) => {
    const item = element("li"), button = element("button"), texts = element("div"), question = element("span", "", problem.question.slice(0, 200));
    const mark = element("b", "mark-" + problem.verdict, VERDICT[problem.verdict][0]);
    mark.setAttribute("aria-label", VERDICT[problem.verdict][1]);
    question.dir = "auto";
    question.style.display = "block";
    texts.append(question, element("small", "", `${problem.id} · ${VERDICT[problem.verdict][1]}`));
    button.type = "button";
    button.append(mark, texts);
    button.setAttribute("aria-current", String(problem === state.problem));
    button.addEventListener("click", () => choose(problem));
    problem.button = button;
    item.append(button);
    return item;
  }));
}

function choose(problem) {
  if (state.problem && state.problem.button) state.problem.button.setAttribute("aria-current", "false");
  stop();
  state.problem = problem;
  if (problem.button) problem.button.setAttribute("aria-current", "true");
  byId("detail").hidden = false;
  const [mark, word] = VERDICT[problem.verdict];
  byId("verdict").textContent = `${mark} ${word}`;
  byId("verdict").className = "badge mark-" + problem.verdict;
  byId("which").textContent = [problem.id, problem.grade_rule, `${problem.n_forwards} forward passes`, `${shortNumber(problem.seconds)} s`].filter(Boolean).join(" · ");
  byId("question").textContent = problem.question;
  byId("answer").textContent = problem.answer === null ? "none given" : problem.answer;
  byId("extracted").textContent = problem.extracted_answer || "none found";
  byId("generated").textContent = problem.generated_text || "(empty)";
  goldLine(problem);
  openLine(problem);
  cells(problem);
  ownMap(problem);
  show(page.steps - 1);
  strip();
}

function goldLine(problem) {
  const known = problem.gold.some((value) => value !== null);
  const line = { label: "p(gold answer)", role: "all", n: 0, values: problem.gold };
  const spec = { title: "Probability of the gold answer where the answer stands", unit: "", span: "unit", lines: known ? [line] : [],
    why_not: problem.answer === null ? "No gold answer is given for this problem." : "No answer was found in the text, or the gold answer does not fit where it stands." };
  state.gold = chart(spec, page, show);
  byId("gold").replaceChildren(state.gold.root);
}

function cells(problem) {
  const data = unpack(problem), texts = Array.from(new Set(data.shown)).map((index) => [...visible(page.tokens[index] || "")].length);
  const wide = Math.min(Math.max(...texts, 1), 9);
  byId("tokens").style.setProperty("--cell", `${Math.max(2, 0.62 * wide + 0.9)}rem`);
  state.cells = [];
  const blocks = [], starts = problem.block_starts || [];
  if (!problem.block_starts) for (let first = 0; first < page.positions; first += page.block_length) starts.push(first);
  for (const first of starts) {
    const last = starts[blocks.length + 1] || page.positions, block = element("div", "block"), inside = element("div", "cells");
    block.append(element("p", "", `${starts.length > 1 ? `block ${blocks.length}` : "positions"} · ${first}–${last - 1}`), inside);
    for (let position = first; position < last; position += 1) {
      const answer = position >= problem.answer_start && position < problem.answer_end && problem.answer_start >= 0;
      const slot = element("div", answer ? "slot answer" : "slot"), cell = element("div", "cell");
      slot.append(cell);
      inside.append(slot);
      state.cells.push(cell);
    }
    blocks.push(block);
  }
  byId("tokens").replaceChildren(...blocks);
}

function show(step) {
  const problem = state.problem, data = unpack(problem), name = state.measure;
  state.step = step;
  byId("step").value = step;
  state.gold.moveTo(step);
  state.open.moveTo(step);
  answersAt(problem, step);
  byId("strip-cursor").style.left = `${(100 * (step + 0.5)) / page.steps}%`;
  let masked = 0, committed = 0;
  state.cells.forEach((cell, position) => {
    const at = step * page.positions + position, unopened = data.flags[at] & 4, hidden = (data.flags[at] & 1) && !unopened, now = data.flags[at] & 2;
    if (unopened) {
      cell.textContent = "";
      cell.className = "cell unopened";
      cell.style.background = cell.style.color = cell.style.boxShadow = "";
      cell.title = `position ${position}: its block is not open, no pass has read it`;
      return;
    }
    const byte = byteAt(data, name, step, position), text = page.tokens[data.shown[at]] || "";
    const colour = byte === 255 ? null : shade(byte / 254);
    masked += hidden ? 1 : 0;
    committed += now ? 1 : 0;
    cell.textContent = visible(text);
    cell.className = "cell" + (hidden ? " masked" : "") + (now ? " now" : "");
    cell.style.background = hidden || !colour ? "" : css(colour);
    cell.style.color = hidden || !colour ? "" : inkOn(colour);
    cell.style.boxShadow = hidden && colour ? `inset 0 -6px ${css(colour)}` : "";
    const numbers = Object.keys(MEASURE).map((each) => `${MEASURE[each]} ${shortNumber(valueOf(byteAt(data, each, step, position), each))} ${page.codings[each].unit}`);
    cell.title = `position ${position}: ${JSON.stringify(text)}\n${hidden ? "still masked, current best guess" : `committed at step ${data.writtenAt[at]}`}\n${numbers.join("\n")}`;
  });
  const working = problem.block_at ? problem.block_at[step] : page.blocks[step];
  byId("tokens").querySelectorAll(".block").forEach((block, index) => block.classList.toggle("working", index === working));
  const end = problem.performed.lastIndexOf(1), block = working < 0 ? "" : ` · block ${working}`;
  const skipped = step > end ? `, ended after step ${end}` : problem.performed[step] ? "" : ", no forward pass";
  byId("now").textContent = `step ${step} of ${page.steps - 1}${block} · +${committed} tokens, ${masked} masked${skipped}`;
}

// All steps at once: a column for each step, a row for each position; what is still masked is drawn faintly.
function strip() {
  const canvas = byId("strip"), data = unpack(state.problem), { steps, positions } = page;
  Object.assign(canvas, { width: steps, height: positions });
  const context = canvas.getContext("2d"), image = context.createImageData(steps, positions);
  for (let step = 0; step < steps; step += 1)
    for (let position = 0; position < positions; position += 1) {
      const byte = byteAt(data, state.measure, step, position), masked = data.flags[step * positions + position] & 1;
      if (byte !== 255) image.data.set([...shade(byte / 254), masked ? 95 : 255], 4 * (position * steps + step));
    }
  context.putImageData(image, 0, 0);
  byId("strip-note").textContent = `${MEASURE[state.measure]} of each position (down) at each step (across); pale while still masked`;
  byId("last-position").textContent = String(positions - 1);
  canvas.setAttribute("aria-label", `${MEASURE[state.measure]} of every position at every step`);
}

function legend() {
  const coding = page.codings[state.measure], ramp = element("span", "ramp"), canvas = element("canvas");
  Object.assign(canvas, { width: 128, height: 1 });
  const context = canvas.getContext("2d"), image = context.createImageData(128, 1);
  for (let at = 0; at < 128; at += 1) image.data.set([...shade(at / 127), 255], 4 * at);
  context.putImageData(image, 0, 0);
  const middle = coding.power === 2 ? ` (middle ${shortNumber(coding.scale / 4)})` : "";
  ramp.append(document.createTextNode(`${MEASURE[state.measure]}: 0`), canvas, document.createTextNode(`${shortNumber(coding.scale)} ${coding.unit}${middle}`));
  const samples = [["cell masked", "still masked: grey is the guess, the bar its value"], ["cell now", "committed at this step"], ["slot answer", "answer slot"]];
  if (page.problems.some((problem) => problem.block_starts)) samples.push(["cell unopened", "of a block that is not open"]);
  byId("legend").replaceChildren(ramp, ...samples.map(([classes, text]) => {
    const item = element("span"), sample = element("span", classes, classes === "slot answer" ? "" : classes === "cell unopened" ? "" : "a");
    if (classes === "cell masked") sample.style.boxShadow = `inset 0 -6px ${css(shade(0.6))}`;
    item.append(sample, document.createTextNode(text));
    return item;
  }));
}

function stop() {
  clearInterval(state.timer);
  state.timer = null;
  byId("play").textContent = "▶ Play";
}

function play() {
  if (state.timer) return stop();
  if (state.step >= page.steps - 1) show(0);
  byId("play").textContent = "❚❚ Pause";
  state.timer = setInterval(() => (state.step >= page.steps - 1 ? stop() : show(state.step + 1)), Math.max(60, Math.min(220, 9000 / page.steps)));
}

function recolour() {
  if (!state.problem) return;
  legend();
  strip();
  show(state.step);
}

function keys(event) {
  if (!state.problem || event.ctrlKey || event.metaKey || event.altKey || /^(search|text|range|radio)$/.test(event.target.type || "")) return;
  const last = page.steps - 1;
  const target = { ArrowLeft: state.step - 1, ArrowRight: state.step + 1, Home: 0, End: last }[event.key];
  if (target !== undefined) {
    event.preventDefault();
    stop();
    show(Math.min(Math.max(target, 0), last));
  } else if (event.key === "p") play();
}

function sampling() {
  if (page.n_stored === 0) return "No problem of this run is finished yet.";
  if (page.n_shown === page.n_stored) return page.n_missing ? `All ${page.n_stored} problems that are done${unfinished()}.` : `All ${page.n_stored} problems of the run.`;
  return `${page.n_shown} of the run's ${page.n_stored} problems${unfinished()}: a fixed sample, half of it correct where there are enough, evenly spaced in run order. ${page.stale ? "Accuracy above is over all, the curves are not (see there)." : "Accuracy and curves above are over all."}`;
}

header();
curves();
decided();
byId("sampling").textContent = sampling();
segments(byId("filter"), "filter", [["all", "All"], ["correct", "✓ Correct"], ["wrong", "✗ Wrong"]], (value) => { state.filter = value; list(); });
segments(byId("measure"), "measure", [["confidence", "Confidence"], ["entropy", "Entropy"], ["kl", "KL"]], (value) => { state.measure = value; recolour(); });
byId("search").addEventListener("input", list);
byId("hold").addEventListener("change", recolour);
byId("play").addEventListener("click", play);
byId("step").max = Math.max(page.steps - 1, 0);
byId("step").addEventListener("input", () => { stop(); show(Number(byId("step").value)); });
byId("strip-frame").style.margin = page.steps > 1 ? `0 ${-50 / (page.steps - 1)}%` : "0";
const pickStrip = (event) => {
  const box = byId("strip").getBoundingClientRect();
  show(Math.min(page.steps - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * page.steps))));
};
byId("strip").addEventListener("pointerdown", pickStrip);
byId("strip").addEventListener("pointermove", (event) => { if (event.buttons) pickStrip(event); });
document.addEventListener("keydown", keys);
list();
legend();
if (page.problems.length) choose(page.problems[0]);
