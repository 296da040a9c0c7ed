// The gallery: what is shown of the images, in which order, a page of cards at a time, and how the keyboard walks there.
const PAGE = 48;
const CHUNK = data.chunk;
const chunks = new Map();
const gallery = { found: [], page: 0, at: 0, late: false };
data.images.forEach((image, index) => { image.index = index; image.folded = image.name.toLowerCase(); });

// The small pictures lie in blocks of their own; a block is read when one of its images is shown.
function pictures(index) {
  const number = Math.floor(index / CHUNK);
  if (!chunks.has(number)) chunks.set(number, JSON.parse(document.getElementById(`pictures-${number}`).textContent));
  return chunks.get(number)[index % CHUNK];
}

const distance = (score) => Math.min(Math.abs(score - state.review), state.ng === null ? Infinity : Math.abs(score - state.ng));
const wrong = (image) => (image.label === "good") !== (verdictOf(image.score) === "OK");
const ORDERS = {
  worst: (one, other) => other.score - one.score,
  nearest: (one, other) => distance(one.score) - distance(other.score),
  wrong: (one, other) => wrong(other) - wrong(one) || distance(other.score) - distance(one.score),
  best: (one, other) => one.score - other.score,
  name: (one, other) => (one.folded < other.folded ? -1 : one.folded > other.folded ? 1 : 0),
};

function find() {
  const verdict = $("input[name=verdict]:checked").value, type = $("#type")?.value ?? "", mark = $("#marked").value;
  const text = $("#name").value.trim().toLowerCase();
  gallery.found = data.images.filter((image) =>
    (!verdict || verdictOf(image.score) === verdict) && (!type || `=${image.label}` === type || (type === "defective" && image.label !== "good")) &&
    (!mark || (state.marks.get(image.index) ?? "none") === mark) && (!text || image.folded.includes(text)));
  gallery.found.sort((one, other) => ORDERS[$("#order").value](one, other) || one.index - other.index);
}

function refind() {
  find();
  gallery.page = 0;
  gallery.at = 0;
  showCards();
}

function layers(image, large) {
  const [small, over, truth, regions] = pictures(image.index);
  const box = make("span", { class: `pictures${image.heat ? " heat" : ""}` });
  const half = make("span", { class: "half" });
  const base = (url) => make("img", { class: "base", alt: "", src: url, decoding: "async", draggable: "false" });
  if (small ?? over) box.append(base(small ?? over));
  if (image.heat && small) half.append(base(small));
  if (over) half.append(make("img", { class: "over", alt: "", src: over, decoding: "async", draggable: "false" }));
  if (regions) half.append(outline(image, regions, "regions"));
  box.append(half);
  if (data.roi) box.append(outline(image, data.roi.path, "roi", data.roi.side));
  if (truth) box.append(outline(image, truth, "truth"));
  if (large) sharpen(image, box);
  return box;
}

// Paths are in px of the image, or in cells of a grid of so many a side.
function outline(image, path, kind, cells) {
  const scale = cells ? { transform: `scale(${image.width / cells} ${image.height / cells})` } : {};
  return draw("svg", { class: `outline ${kind}`, viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" },
    draw("path", { class: "casing", d: path, ...scale }), draw("path", { class: "line", d: path, ...scale }));
}

function described(image) {
  const mark = state.marks.get(image.index);
  return [image.name, verdictOf(image.score), `score ${shownScore(image.score)}`, image.label && `labelled ${image.label}`,
    mark && `marked ${mark}`].filter(Boolean).join(", ");
}

function card(image, place) {
  const button = make("button", { type: "button", class: "card", "data-place": place,
    tabindex: place === gallery.at ? 0 : -1, onclick: () => openViewer(place), onfocus: () => focused(place) });
  const line = make("span", { class: "line" }, chip(""), make("span", { class: "score", text: shownScore(image.score) }), make("span", { class: "mark" }));
  button.append(layers(image, false), line, make("span", { class: "name", title: image.name }, make("bdi", { text: image.name })));
  if (image.label) button.append(make("bdi", { class: "type", text: image.label }));
  word(button, image);
  return make("li", {}, button);
}

// What thresholds and marks change of a card.
function word(button, image) {
  const verdict = verdictOf(image.score), mark = state.marks.get(image.index) ?? "";
  Object.assign($(".chip", button), { className: `chip ${verdict}`, textContent: verdict });
  Object.assign($(".mark", button), { className: `mark ${mark}`, textContent: mark && `✓ ${mark}`, title: mark && `marked ${mark}` });
  $(".type", button)?.classList.toggle("wrong", wrong(image));
  button.setAttribute("aria-label", described(image));
}

function focused(place) {
  $(`#cards [data-place="${gallery.at}"]`)?.setAttribute("tabindex", -1);
  gallery.at = place;
  $(`#cards [data-place="${place}"]`)?.setAttribute("tabindex", 0);
}

function showCards() {
  const pages = Math.max(1, Math.ceil(gallery.found.length / PAGE));
  gallery.page = Math.min(gallery.page, pages - 1);
  const first = gallery.page * PAGE, shown = gallery.found.slice(first, first + PAGE);
  if (gallery.at < first || gallery.at >= first + shown.length) gallery.at = first;
  $("#cards").replaceChildren(...shown.map((image, index) => card(image, first + index)));
  $("#found").textContent = gallery.found.length === data.images.length
    ? many(data.images.length, "image") : `${gallery.found.length} of ${many(data.images.length, "image")}`;
  for (const pager of document.querySelectorAll(".pager")) {
    pager.classList.toggle("gone", pages === 1);
    $(".where", pager).textContent = `page ${gallery.page + 1} of ${pages}`;
    $(".before", pager).disabled = gallery.page === 0;
    $(".after", pager).disabled = gallery.page === pages - 1;
  }
  $("#none").classList.toggle("gone", gallery.found.length > 0);
}

function turn(by) {
  gallery.page += by;
  gallery.at = gallery.page * PAGE;
  showCards();
  $("#images").scrollIntoView();
}

function goTo(place) {
  if (place < 0 || place >= gallery.found.length) return;
  const page = Math.floor(place / PAGE);
  if (page !== gallery.page) {
    gallery.page = page;
    gallery.at = place;
    showCards();
  }
  focused(place);
  $(`#cards [data-place="${place}"]`).focus();
}

function walk(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const columns = getComputedStyle($("#cards")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (event.key in steps) {
    event.preventDefault();
    goTo(gallery.at + steps[event.key]);
  } else if (event.key in MARK_KEYS) {
    event.preventDefault();
    setMark(gallery.found[gallery.at], MARK_KEYS[event.key]);
  }
}

// While a threshold moves the cards stay where they are; only their words change.
function refreshCards() {
  for (const button of document.querySelectorAll("#cards .card")) word(button, gallery.found[Number(button.dataset.place)]);
  const counts = counted(data.images, () => null).all;
  for (const verdict of WORDS) $(`#of-${verdict}`).textContent = counts[verdict];
}

// Once the line rests the cards are sorted anew. While an image is large its place must stay: then on close.
function rested() {
  gallery.late = viewer.open;
  if (!gallery.late) refind();
}

function startGallery() {
  for (const control of document.querySelectorAll("#filters input, #filters select")) {
    control.addEventListener(control.type === "search" ? "input" : "change", control.name === "view" || control.id === "truth" ? showView : refind);
  }
  for (const button of document.querySelectorAll(".pager .before")) button.addEventListener("click", () => turn(-1));
  for (const button of document.querySelectorAll(".pager .after")) button.addEventListener("click", () => turn(1));
  $("#cards").addEventListener("keydown", walk);
  let waiting = 0;
  listeners.rest.push(() => {
    refreshCards();
    clearTimeout(waiting);
    waiting = setTimeout(rested, 400);
  });
  listeners.marks.push(refreshCards);
  showView();
  refind();
  refreshCards();
}

function showView() {
  document.body.dataset.view = $("input[name=view]:checked").value;
  document.body.classList.toggle("no-truth", $("#truth") !== null && !$("#truth").checked);
}
