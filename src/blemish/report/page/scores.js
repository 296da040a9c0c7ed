// The histogram with its two thresholds, and what is recounted while they are dragged.
const plot = $("#plot");
const rows = [
  { name: "good, held out", scores: data.held.map((one) => one.score) },
  ...(data.truth
    ? [
        { name: "good, tested", scores: data.images.filter((one) => one.label === "good").map((one) => one.score) },
        { name: "defective, tested", scores: data.images.filter((one) => one.label !== "good").map((one) => one.score) },
      ]
    : [{ name: "images", scores: data.images.map((one) => one.score) }]),
].filter((row) => row.scores.length);
const TOP = 34, ROW = 74, LEFT = 8, RIGHT = 8, AXIS = 26;
let place = null; // from a score to px, once the plot has a width

function niceSteps(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + 1e-9; tick += 1) ticks.push(tick * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

function drawPlot() {
  const width = Math.max(280, plot.parentElement.clientWidth), height = TOP + rows.length * ROW + AXIS;
  const inner = width - LEFT - RIGHT;
  place = (score) => LEFT + ((score - range.low) / (range.high - range.low)) * inner;
  plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
  plot.setAttribute("height", height);
  const zones = WORDS.map((word) => draw("rect", { class: `zone ${word}`, y: TOP, height: rows.length * ROW }));
  const parts = [...zones];
  const bins = Math.max(20, Math.min(90, Math.floor(inner / 9)));
  const wide = inner / bins;
  rows.forEach((row, index) => {
    const counts = new Array(bins).fill(0), bottom = TOP + (index + 1) * ROW;
    for (const score of row.scores) {
      counts[Math.min(bins - 1, Math.max(0, Math.floor(((score - range.low) / (range.high - range.low)) * bins)))] += 1;
    }
    const most = Math.max(...counts), tall = ROW - 26;
    counts.forEach((count, bin) => {
      if (!count) return;
      const high = Math.max(3, (count / most) * tall);
      const from = range.low + (bin / bins) * (range.high - range.low);
      const to = range.low + ((bin + 1) / bins) * (range.high - range.low);
      const bar = { class: "bar", x: LEFT + bin * wide + 0.5, y: bottom - high, width: Math.max(1, wide - 1), height: high };
      parts.push(draw("rect", bar, draw("title", { text: `${many(count, "image")}, ${shownScore(from)} to ${shownScore(to)}` })));
    });
    parts.push(draw("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom }));
    parts.push(draw("text", { class: "row", x: LEFT + 4, y: bottom - ROW + 15, text: `${row.name}: ${row.scores.length}` }));
    parts.push(draw("text", { class: "most", x: width - RIGHT - 4, y: bottom - ROW + 15, text: `highest ${most}` }));
  });
  const steps = niceSteps(range.low, range.high, Math.max(3, Math.floor(inner / 90)));
  for (const tick of steps.ticks) {
    parts.push(draw("text", { class: "tick", x: place(tick), y: height - 8, text: tick.toFixed(steps.digits) }));
  }
  plot.replaceChildren(...parts, handle("ng"), handle("review"));
  moveHandles();
}

const nameOf = (which) => (which === "ng" || state.ng === null ? "NG" : "REVIEW");

function handle(which) {
  const bottom = TOP + rows.length * ROW;
  const group = draw("g", { class: "handle", id: `handle-${which}`, role: "slider", tabindex: 0, "aria-orientation": "horizontal" });
  group.append(
    draw("rect", { class: "grip", x: -11, y: 0, width: 22, height: bottom }),
    draw("line", { x1: 0, x2: 0, y1: 24, y2: bottom }),
    draw("rect", { class: "pill", y: 2, height: 22, rx: 4 }),
    draw("text", { class: "label", y: 17 }),
  );
  let off = 0; // from the line to where it was taken
  const at = (event) => {
    const box = plot.getBoundingClientRect(), width = plot.viewBox.baseVal.width;
    return ((((event.clientX - box.left) / box.width) * width - LEFT) / (width - LEFT - RIGHT)) * (range.high - range.low) + range.low;
  };
  group.addEventListener("pointerdown", (event) => {
    off = at(event) - state[which];
    group.setPointerCapture(event.pointerId);
    group.focus();
    event.preventDefault();
  });
  group.addEventListener("pointermove", (event) => {
    if (group.hasPointerCapture(event.pointerId)) setThreshold(which, at(event) - off);
  });
  group.addEventListener("keydown", (event) => {
    const to = stepped(event, state[which]);
    if (to === null) return;
    event.preventDefault();
    setThreshold(which, to);
  });
  return group;
}

// Arrows move a little, with Shift more; PageUp and PageDown go to the next held-out score, exactly.
function stepped(event, value) {
  const step = Math.max(10 ** -digits, (range.high - range.low) / 200) * (event.shiftKey ? 10 : 1);
  switch (event.key) {
    case "ArrowRight": case "ArrowUp": return value + step;
    case "ArrowLeft": case "ArrowDown": return value - step;
    case "PageUp": return units.findLast((one) => one.score > value)?.score ?? value;
    case "PageDown": return units.find((one) => one.score < value)?.score ?? value;
    case "Home": return range.low;
    case "End": return range.high;
    default: return null;
  }
}

// A held-out score is kept to the last digit: rounded, it might fall on the other side of its own image.
function setThreshold(which, wanted) {
  if (!Number.isFinite(wanted)) return;
  const exact = data.held.some((one) => one.score === wanted);
  let value = exact ? wanted : rounded(Math.min(range.high, Math.max(range.low, wanted)));
  value = Math.min(1, Math.max(10 ** -digits, value));
  if (which === "review" && state.ng !== null) value = Math.min(value, state.ng);
  if (which === "ng") value = Math.max(value, state.review);
  if (value === state[which]) return;
  state[which] = value;
  changed("thresholds");
}

function moveHandles() {
  const width = plot.viewBox.baseVal.width;
  const at = (score) => Math.min(width - RIGHT, Math.max(LEFT, place(score)));
  for (const which of ["review", "ng"]) {
    const group = $(`#handle-${which}`), value = state[which];
    group.toggleAttribute("hidden", value === null);
    group.classList.toggle("gone", value === null);
    if (value === null) continue;
    const word = nameOf(which), x = at(value);
    group.setAttribute("transform", `translate(${x} 0)`);
    group.classList.toggle("REVIEW", word === "REVIEW");
    group.classList.toggle("NG", word === "NG");
    const label = $(".label", group), pill = $(".pill", group);
    label.textContent = `${word} ${shownScore(value)}`;
    const long = label.getComputedTextLength ? label.getComputedTextLength() + 14 : 90;
    const left = which === "review" && state.ng !== null ? -long + 4 : -4;
    const moved = Math.min(width - x - long, Math.max(-x, left));
    pill.setAttribute("x", moved);
    pill.setAttribute("width", long);
    label.setAttribute("x", moved + 7);
    group.setAttribute("aria-label", `Threshold of ${word}`);
    group.setAttribute("aria-valuemin", rounded(range.low));
    group.setAttribute("aria-valuemax", rounded(range.high));
    group.setAttribute("aria-valuenow", value);
    group.setAttribute("aria-valuetext", `${shownScore(value)}, false alarms ${promiseText(value)}`);
  }
  const edges = [LEFT, at(state.review), state.ng === null ? at(state.review) : at(state.ng), width - RIGHT];
  WORDS.forEach((word, index) => {
    const zone = $(`.zone.${word}`, plot);
    zone.setAttribute("x", edges[index]);
    zone.setAttribute("width", Math.max(0, edges[index + 1] - edges[index]));
  });
}

function showCounts() {
  const lone = (word) => (word === "REVIEW" && state.ng === null ? " gone" : "");
  const truth = (image) => (data.truth ? image.label === "good" : null);
  const counts = counted(data.images, truth);
  const cell = (row, name) => make("tr", {}, make("th", { scope: "row", text: `${name} (${total(row)})` }),
    ...WORDS.map((word) => make("td", { class: `count ${word}${lone(word)}`, text: row[word] })));
  const lines = data.truth ? [cell(counts.good, "good"), cell(counts.bad, "defective")] : [cell(counts.all, "images")];
  $("#counts tbody").replaceChildren(...lines);
  for (const word of WORDS) $(`#counts th.${word}`).classList.toggle("gone", lone(word) !== "");
  if (data.truth) {
    const bad = total(counts.bad), good = total(counts.good), alarms = good - counts.good.OK;
    tile("escapes", `${counts.bad.OK}`, `of ${many(bad, "defective image")} get OK (${shared(counts.bad.OK, bad)})`);
    tile("alarms", `${alarms}`, `of ${good} good ${good === 1 ? "image" : "images"} get no OK (${shared(alarms, good)})`);
  } else {
    const flagged = data.images.length - counts.all.OK;
    tile("flagged", `${flagged}`, `of ${many(data.images.length, "image")} get no OK (${shared(flagged, data.images.length)})`);
  }
  const { k, n, rate } = promiseOf(state.review);
  tile("promise", rate === null || k > n ? "–" : `≤ ${percent(rate)}`, rate === null ? "no held-out scores in this model" : k > n
    ? "nothing is promised below every held-out score" : `of new good parts get no OK (${k} of ${n + 1})`);
  for (const which of ["review", "ng"]) {
    const value = state[which], box = $(`#typed-${which}`);
    box.closest("tr").classList.toggle("gone", value === null);
    if (document.activeElement !== box && value !== null) box.value = Number(value.toPrecision(6));
    $(`#word-${which}`).replaceChildren(chip(nameOf(which)));
    if (value !== null) $(`#promise-${which}`).textContent = promiseText(value);
  }
  $("#both").textContent = state.ng === null ? "Use two thresholds" : "Use one threshold";
  const review = neat(state.review), values = state.ng === null ? review : `${review},${Math.max(review, neat(state.ng))}`;
  $("#command").textContent = `blemish calibrate ${data.command.model} --threshold ${values} --out ${data.command.out}`;
  const moved = state.review !== data.thresholds.review || state.ng !== data.thresholds.ng;
  $("#reset").disabled = !moved;
  for (const name of ["#command", "#command-label"]) $(name).closest("p").classList.toggle("gone", !moved);
  $("#model-named")?.classList.toggle("gone", !moved);
  $("#moved").textContent = moved ? "Moved. Nothing changes in the model until you run the command." : "These are the thresholds of the model.";
  showMarkedCounts();
}

// The shortest number that parts all known scores as the threshold does: as many are above it.
const known = [...data.held, ...data.images].map((one) => one.score);
function neat(value) {
  for (let places = digits; places < 15; places += 1) {
    const up = Math.ceil(value * 10 ** places - 1e-6) / 10 ** places;
    if (up <= 1 && !known.some((score) => (score > value) !== (score > up))) return up;
  }
  return value;
}

function tile(name, number, text) {
  $(`#${name} b`).textContent = number;
  $(`#${name} span`).textContent = text;
}

// Marks are a truth of their own: what a person has looked at.
function showMarkedCounts() {
  const marked = data.images.filter((image) => ["OK", "NG"].includes(state.marks.get(image.index)));
  const counts = counted(marked, (image) => state.marks.get(image.index) === "OK");
  const good = total(counts.good), bad = total(counts.bad);
  $("#by-marks").textContent = marked.length
    ? `By your marks: ${counts.bad.OK} of ${bad} marked NG get OK; ${good - counts.good.OK} of ${good} marked OK do not.` : "";
}

function menuRow(one, rank) {
  const good = data.images.filter((image) => image.label === "good"), bad = data.images.filter((image) => image.label !== "good");
  const above = (images) => images.filter((image) => image.score > one.score).length;
  const set = (which, word) => make("button", { type: "button", class: "small", text: word, "data-set": which,
    "aria-label": `Set ${word} to ${shownScore(one.score)}`, onclick: () => chooseStep(which, one.score) });
  return make("tr", {},
    make("td", { class: "num", text: percent(rank / (units.length + 1)) }),
    make("td", { class: "num", text: shownScore(one.score) }),
    make("td", {}, make("bdi", { text: one.group ? `${one.name} (${one.group})` : one.name }), one.stranger ? make("em", { text: " stands out" }) : ""),
    ...(data.truth ? [make("td", { class: "num", text: bad.length - above(bad) }), make("td", { class: "num", text: above(good) })] : []),
    make("td", { class: "sets" }, set("review", "REVIEW"), " ", set("ng", "NG")));
}

function chooseStep(which, score) {
  if (which === "review" && state.ng !== null && score > state.ng) state.ng = score;
  if (which === "ng" && score < state.review) state.review = score;
  if (which === "ng" && state.ng === null) state.ng = Math.max(state.review, score);
  state[which] = score;
  changed("thresholds");
}

function showMenu(every) {
  const body = $("#menu tbody");
  if (!body) return;
  body.replaceChildren(...units.slice(0, every ? units.length : 8).map((one, index) => menuRow(one, index + 1)));
  $("#whole-menu").classList.toggle("gone", every || units.length <= 8);
}

function startScores() {
  listeners.thresholds.push(moveHandles, showCounts);
  listeners.marks.push(showMarkedCounts);
  for (const which of ["review", "ng"]) {
    const box = $(`#typed-${which}`);
    box.addEventListener("change", () => {
      if (box.value.trim() !== "") setThreshold(which, Number(box.value));
      box.value = Number(state[which].toPrecision(6));
    });
  }
  $("#reset").addEventListener("click", () => {
    Object.assign(state, { review: data.thresholds.review, ng: data.thresholds.ng });
    changed("thresholds");
  });
  $("#both").addEventListener("click", () => {
    state.ng = state.ng === null ? data.thresholds.ng ?? Math.max(state.review, units[0]?.score ?? state.review) : null;
    if (state.ng !== null) state.ng = Math.max(state.ng, state.review);
    changed("thresholds");
  });
  $("#copy-command").addEventListener("click", () => copyText($("#command").textContent, "command"));
  $("#whole-menu")?.addEventListener("click", () => showMenu(true));
  new ResizeObserver(drawPlot).observe(plot.parentElement);
  drawPlot();
  showMenu(false);
  showCounts();
}
