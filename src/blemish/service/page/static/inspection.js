// One part: its image under the overlay, zoomed and asked for scores, and its verdict corrected with one key.
import { ask, byId, chip, drawing, element, picture, post, score, typing, when, who } from "./common.js";

const { id, drawn, kept } = byId("inspection").dataset;
const place = `/v1/inspections/${id}`;
let one = null, scores = null, zoom = 1, x = 0, y = 0;

async function correct(verdict) {
  const done = byId("done");
  try {
    one = await post(`${place}/corrections`, { verdict, who: who(), why: byId("why").value });
  } catch (error) { done.className = "fault"; done.textContent = error.message; return; }
  byId("standing").className = `chip large ${verdict}`;
  byId("standing").textContent = verdict;
  done.className = "quiet";
  done.textContent = `${verdict} stands now.`;
  byId("why").value = "";
  byId("corrections").replaceChildren(...one.corrections.reverse().map((said) => {
    const words = element("span", {}, element("b", {}, element("bdi", {}, said.who)), ` ${when(said.at)}`);
    if (said.why) words.append(element("br"), element("bdi", {}, said.why));
    return element("li", {}, chip(said.verdict), " ", words);
  }));
}

// A file of numpy: its head says where the numbers begin; float32, row by row.
function numbers(buffer) {
  const view = new DataView(buffer);
  const start = view.getUint8(6) === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  return new Float32Array(buffer.slice(start));
}

function fit() {
  const viewer = byId("viewer");
  return Math.min(viewer.clientWidth / one.width, viewer.clientHeight / one.height);
}

function show() {
  const stage = byId("stage");
  const scale = fit() * zoom, viewer = byId("viewer");
  const room = [viewer.clientWidth - one.width * scale, viewer.clientHeight - one.height * scale];
  [x, y] = [x, y].map((value, axis) => (room[axis] >= 0 ? room[axis] / 2 : Math.min(0, Math.max(room[axis], value))));
  stage.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  stage.classList.toggle("pixels", scale > 3);
}

function zoomBy(factor, at = null) {
  const viewer = byId("viewer");
  const [cx, cy] = at || [viewer.clientWidth / 2, viewer.clientHeight / 2];
  const before = fit() * zoom;
  zoom = Math.min(Math.max(zoom * factor, 1), 40);
  const change = (fit() * zoom) / before;
  [x, y] = [cx - (cx - x) * change, cy - (cy - y) * change];
  show();
}

function toRegion([left, top, width, height]) {
  const viewer = byId("viewer");
  const wanted = Math.min(viewer.clientWidth / (width * 4), viewer.clientHeight / (height * 4));
  zoom = Math.min(Math.max(wanted / fit(), 1), 40);
  const scale = fit() * zoom;
  [x, y] = [viewer.clientWidth / 2 - (left + width / 2) * scale, viewer.clientHeight / 2 - (top + height / 2) * scale];
  show();
}

function under(event) {
  if (!scores) return;
  const box = byId("viewer").getBoundingClientRect(), scale = fit() * zoom;
  const column = Math.floor((event.clientX - box.left - x) / scale), line = Math.floor((event.clientY - box.top - y) / scale);
  const inside = column >= 0 && line >= 0 && column < one.width && line < one.height;
  byId("under").textContent = inside ? `${column}, ${line}: ${score(scores[line * one.width + column])}` : "\u00a0";
}

function hands() {
  const viewer = byId("viewer"), held = new Map();
  viewer.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = viewer.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY / 400), [event.clientX - box.left, event.clientY - box.top]);
  }, { passive: false });
  viewer.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event); viewer.setPointerCapture(event.pointerId); });
  viewer.addEventListener("pointermove", (event) => {
    under(event);
    const before = held.get(event.pointerId);
    if (!before) return;
    if (held.size === 2) {
      const other = [...held].find(([key]) => key !== event.pointerId)[1];
      const far = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      const box = viewer.getBoundingClientRect();
      zoomBy(far(event) / Math.max(far(before), 1), [other.clientX - box.left, other.clientY - box.top]);
    } else { x += event.clientX - before.clientX; y += event.clientY - before.clientY; show(); }
    held.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) viewer.addEventListener(kind, (event) => held.delete(event.pointerId));
  byId("in").addEventListener("click", () => zoomBy(1.5));
  byId("out").addEventListener("click", () => zoomBy(1 / 1.5));
  byId("all").addEventListener("click", () => { zoom = 1; show(); });
  byId("blend")?.addEventListener("input", (event) => { byId("overlay").style.opacity = event.target.value / 100; });
  byId("outline").addEventListener("change", (event) => byId("boxes").classList.toggle("gone", !event.target.checked));
  for (const button of document.querySelectorAll(".region")) button.addEventListener("click", () => toRegion(one.regions[Number(button.dataset.index)].box));
  new ResizeObserver(show).observe(viewer);
}

async function look() {
  one = await ask(place);
  for (const part of [byId("stage"), byId("image"), byId("overlay"), byId("boxes")]) {
    part.style.width = `${one.width}px`;
    part.style.height = `${one.height}px`;
  }
  byId("boxes").setAttribute("viewBox", `0 0 ${one.width} ${one.height}`);
  const margin = Math.max(one.width, one.height) / 100;
  for (const { box: [left, top, width, height] } of one.regions) {
    byId("boxes").append(drawing("rect", { x: left - margin, y: top - margin, width: width + 2 * margin, height: height + 2 * margin, rx: margin / 2 }));
  }
  hands();
  show();
  const there = await picture(byId("image"), one.links.image);
  byId("loading").textContent = there ? "" : "The image cannot be drawn now.";
  if (drawn !== "1") return;
  await picture(byId("overlay"), one.links.overlay);
  const answer = await fetch(one.links.scores);
  if (answer.ok) scores = numbers(await answer.arrayBuffer());
  byId("inspection").dataset.looked = "1";
}

const KEYS = { 1: "OK", 2: "REVIEW", 3: "NG", o: "OK", r: "REVIEW", n: "NG" };
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const verdict = KEYS[event.key.toLowerCase()];
  if (verdict) { event.preventDefault(); correct(verdict); }
  if (event.target.type === "range") return;
  if (event.key === "ArrowLeft") byId("newer")?.click();
  if (event.key === "ArrowRight") byId("older")?.click();
  if (!one || kept !== "1") return;
  if (event.key === "+" || event.key === "=") zoomBy(1.5);
  if (event.key === "-") zoomBy(1 / 1.5);
  if (event.key === "0") { zoom = 1; show(); }
});
for (const button of document.querySelectorAll(".say")) button.addEventListener("click", () => correct(button.dataset.verdict));
if (kept === "1") look();
