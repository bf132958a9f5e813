// What branches say: the section over all problems, and of the chosen problem the answers by state and the sensitivity map.

const MAP_MEASURES = { collateral: "Other tokens", direct: "The token itself", answer_changed: "The answer" };
const branching = () => page.branching;
const hasBranches = () => !branching().why_not;

// The states at which branches begin; the last of them is the end, behind the last step.
const states = () => [...branching().grid, branching().end];
const gridOnPage = () => branching().grid.filter((step) => step < page.steps);

function decided() {
  const { why_not, said, note } = branching();
  for (const sentence of [why_not, ...(said || []), note].filter(Boolean)) byId("decided-note").append(element("p", "", sentence));
  if (hasBranches() && gridOnPage().length)
    for (const spec of branching().charts) byId("decided").append(chart({ ...spec, grid: gridOnPage() }, page).root);
  const map = branching().map;
  if (map) byId("mean-map").append(heatmap(`What depends on each position: ${map.text}`, `mean over up to ${map.n} problems`, map.mean, null));
  if (hasBranches()) byId("pivots").append(...pivotTable());
}

function pivotTable() {
  const { pivots, n_pivots: all, n_tested: tested, pivots_why_not: why } = branching();
  const title = element("h3", "", "Pivotal steps");
  if (why) return [title, element("p", "quiet", why)];
  const beyond = `In ${all} of ${tested} problems the largest drop of H(A | x_t) between neighbouring states is beyond chance`;
  const rest = pivots.length < all ? `; the ${pivots.length} largest here, all in pivotal_steps.csv` : "";
  const note = element("p", "quiet", `${beyond}${rest}.`);
  if (!pivots.length) return [title, note];
  const frame = element("div", "scroll"), table = element("table", "pivots"), head = element("tr");
  for (const name of ["Problem", "Step", "Drop, bits", "p", "Answers before", "Answers after", "Committed between"]) {
    const cell = element("th", "", name);
    cell.scope = "col";
    head.append(cell);
  }
  table.append(head, ...pivots.map(pivotRow));
  frame.append(table);
  return [title, note, frame];
}

function pivotRow(pivot) {
  const row = element("tr"), naming = element("td"), target = page.problems.find((problem) => problem.id === pivot.id);
  const question = element("span", "question", pivot.question);
  question.dir = "auto";
  naming.append(question, element("small", "quiet", target ? pivot.id : `${pivot.id} (not among the problems of this page)`));
  const steps = element("td"), label = `${pivot.step} → ${pivot.until === branching().end ? "end" : pivot.until}`;
  if (target) {
    const link = element("button", "link", label);
    link.type = "button";
    link.title = `show the canvas at step ${pivot.step}`;
    link.addEventListener("click", () => goTo(target, pivot.step));
    steps.append(link);
  } else steps.textContent = label;
  const said = element("td", "said-tokens", pivot.committed ? visible(pivot.committed) : "none");
  said.dir = "auto";
  row.append(naming, steps, element("td", "", shortNumber(pivot.drop)), element("td", "", shortNumber(pivot.p)), answerCell(pivot.before), answerCell(pivot.after), said);
  return row;
}

function answerCell({ answers, others }) {
  const cell = element("td");
  cell.append(...answers.map(([text, share]) => answerLine(text, share)));
  if (others) cell.append(element("small", "quiet", `${others} more`));
  return cell;
}

function answerLine(text, share) {
  const line = element("div", "answer-line"), bar = element("i"), words = element("span", "", text || "no answer");
  words.dir = "auto";
  bar.style.width = `${4 * share}rem`;
  line.append(element("b", "", `${Math.round(100 * share)} %`), bar, words);
  return line;
}

function goTo(problem, step) {
  byId("search").value = "";
  choose(problem);
  show(Math.min(step, page.steps - 1));
  byId("detail").scrollIntoView({ behavior: "smooth", block: "start" });
}

function openLine(problem) {
  state.open = { moveTo() {} };
  byId("open").replaceChildren();
  const own = problem.branches;
  if (!own || !gridOnPage().length) return;
  const values = new Array(page.steps).fill(null);
  gridOnPage().forEach((step, place) => { values[step] = own.entropy[place]; });
  const known = values.some(isKnown);
  const spec = { title: "How open the answer is, H(A | x_t)", unit: "", span: "", grid: gridOnPage(), lines: known ? [{ label: `of the answers of ${branching().samples} branches, bits`, role: "masked", n: 0, values }] : [],
    why_not: "No state of this problem has all of its branches." };
  state.open = chart(spec, page, show);
  byId("open").append(state.open.root);
}

// The answers of the state that is nearest to the step shown.
function answersAt(problem, step) {
  const own = problem.branches, root = byId("drawn");
  root.replaceChildren();
  if (!own) return;
  const at = nearest(states(), step), { answers, others } = own.states[states().indexOf(at)];
  const where = at === branching().end ? "At the end" : `From the state at step ${at}`;
  if (!answers.length) return root.append(element("p", "quiet", `${where}: not branched, or not all branches are there.`));
  root.append(element("p", "quiet", at === branching().end ? `${where}, its own answer:` : `${where}, ${branching().samples} branches come to:`));
  root.append(...answers.map(([text, share]) => answerLine(text, share)));
  if (others) root.append(element("p", "quiet", `and ${others} more`));
}

function ownMap(problem) {
  byId("map").replaceChildren();
  if (!branching().map || !problem.map) return;
  const { shown } = unpack(problem), last = (page.steps - 1) * page.positions;
  const tokens = Array.from({ length: page.positions }, (_, position) => page.tokens[shown[last + position]] || "");
  byId("map").append(heatmap(`What depends on each position: ${branching().map.text}`, "this problem", problem.map, { tokens, problem }));
}

// Steps down, positions across; under them the final tokens of one problem, or the positions' numbers.
function heatmap(title, of, coded, one) {
  const { steps, codings } = branching().map, root = element("div", "map"), grid = element("div", "map-grid"), frame = element("div", "scroll");
  const bar = element("p", "quiet ramp"), chooser = element("div", "segments");
  root.append(element("h3", "", title), chooser, bar, frame);
  frame.append(grid);
  chooser.setAttribute("role", "radiogroup");
  chooser.setAttribute("aria-label", "what changes");
  grid.style.gridTemplateColumns = `3rem repeat(${page.positions}, minmax(${one ? 15 : 13}px, 1fr))`;
  const fill = (name) => {
    const coding = codings[name], values = bytes(coded[name]);
    bar.textContent = `${coding.unit}, ${of}; dark 0, light ${shortNumber(coding.scale)}; hatched: nothing to be done there`;
    grid.replaceChildren();
    steps.forEach((step, row) => {
      grid.append(element("span", "map-step", `${step}`));
      for (let position = 0; position < page.positions; position += 1) grid.append(mapCell(values[row * page.positions + position], coding, step, position));
    });
    grid.append(element("span", "map-step", one ? "" : "pos."));
    for (let position = 0; position < page.positions; position += 1) grid.append(mapFoot(position, one));
  };
  segments(chooser, `measure-of-map-${one ? "own" : "mean"}`, Object.keys(codings).map((name) => [name, MAP_MEASURES[name] || name]), fill);
  fill(Object.keys(codings)[0]);
  return root;
}

function mapCell(byte, coding, step, position) {
  const cell = element("i", byte === 255 ? "map-cell nothing" : "map-cell"), value = (coding.scale * byte) / 254;
  if (byte !== 255) cell.style.background = css(shade(byte / 254));
  cell.title = `step ${step}, position ${position}: ${byte === 255 ? "nothing to be done" : `${coding.unit} ${shortNumber(value)}`}`;
  return cell;
}

function mapFoot(position, one) {
  if (!one) return element("span", "map-foot", position % 8 ? "" : String(position));
  const inside = position >= one.problem.answer_start && position < one.problem.answer_end && one.problem.answer_start >= 0;
  return element("span", inside ? "map-foot down answer" : "map-foot down", visible(one.tokens[position]));
}
