// What a person has said of the images: kept in the page, and exported.
const MARK_KEYS = { 1: "OK", 2: "REVIEW", 3: "NG", 0: "" };
const STORE = `blemish-report-${data.id}`;

function setMark(image, mark) {
  if (!image) return;
  if (mark) state.marks.set(image.index, mark);
  else state.marks.delete(image.index);
  keepMarks();
  changed("marks");
  say(mark ? `${image.name} marked ${mark}` : `${image.name}: mark removed`);
}

function keepMarks() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...state.marks]));
    $("#not-kept").classList.add("gone");
  } catch {
    $("#not-kept").classList.remove("gone");
  }
}

function recallMarks() {
  try {
    for (const [index, mark] of JSON.parse(localStorage.getItem(STORE) ?? "[]")) {
      if (Number.isInteger(index) && index >= 0 && index < data.images.length && WORDS.includes(mark)) state.marks.set(index, mark);
    }
  } catch {
    state.marks.clear();
  }
}

const marked = (word) => data.images.filter((image) => state.marks.get(image.index) === word);

function marksAsJson() {
  return JSON.stringify({
    report: data.id, model: data.model, thresholds: { review: state.review, ng: state.ng }, folder: data.folder,
    marks: data.images.filter((image) => state.marks.has(image.index)).map((image) => (
      { path: image.path, name: image.name, mark: state.marks.get(image.index), score: image.score, verdict: verdictOf(image.score) })),
  }, null, 1) + "\n";
}

// What a spreadsheet would take for a formula gets ./ before it: the same path.
function cell(text) {
  const safe = /^[=+\-@\s]/.test(text) ? `./${text}` : text;
  return /[",;\r\n\t]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// OK becomes good, to set the threshold (validation); NG becomes a defect without a mask, to test; REVIEW is left out.
function marksAsCsv() {
  const row = (image, rest) => `${cell(image.path)},${rest}\r\n`;
  return "path,label,mask,split\r\n" +
    marked("OK").filter((one) => one.path).map((one) => row(one, "good,,validation")).join("") +
    marked("NG").filter((one) => one.path).map((one) => row(one, "defect,,test")).join("");
}

function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  say(`${name} saved`);
}

function showMarks() {
  const counts = WORDS.map((word) => marked(word).length);
  const sum = counts[0] + counts[1] + counts[2];
  const nameless = data.images.filter((image) => state.marks.has(image.index) && !image.path).length;
  $("#mark-counts").textContent = sum ? `${counts[0]} OK, ${counts[1]} REVIEW, ${counts[2]} NG; ${data.images.length - sum} without a mark` : "No marks yet";
  $("#left-out").textContent = [
    counts[1] ? `${counts[1]} marked REVIEW ${counts[1] === 1 ? "is" : "are"} left out of the CSV.` : "",
    nameless ? `${many(nameless, "file name")} cannot be written in a CSV; left out.` : "",
  ].filter(Boolean).join(" ");
  $("#save-json").disabled = $("#clear-marks").disabled = !sum;
  $("#save-csv").disabled = !(counts[0] + counts[2] - nameless > 0);
}

function startMarks() {
  recallMarks();
  listeners.marks.push(showMarks);
  $("#save-json").addEventListener("click", () => save("marks.json", marksAsJson(), "application/json"));
  $("#save-csv").addEventListener("click", () => save("marks.csv", marksAsCsv(), "text/csv;charset=utf-8"));
  $("#copy-folder").addEventListener("click", () => copyText(data.folder, "folder"));
  $("#clear-marks").addEventListener("click", () => {
    if (!confirm("Remove all marks from this page?")) return;
    state.marks.clear();
    keepMarks();
    changed("marks");
  });
  keepMarks();
  showMarks();
}
