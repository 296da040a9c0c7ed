// The newest parts as they come, the verdict of the last one, and the counts of the shift.
import { ask, byId, called, chip, drawing, element, levels, meter, number, picture, score, typing, when } from "./common.js";

const MOST = 24;
const parts = new Map();
let paused = false, held = [], shown = null, drawing_ = false, connected = false;
const begun = new Date();

const model = () => byId("model")?.value || "";
const mine = (one) => !model() || one.model === model();

function since() {
  const span = byId("span").value;
  if (span === "now") return begun;
  if (span === "today") return new Date(new Date().setHours(0, 0, 0, 0));
  return new Date(Date.now() - 3600e3 * Number(span));
}

let waiting = null;
function countSoon() { waiting ??= setTimeout(() => { waiting = null; count(); }, 700); }

async function count() {
  const asked = new URLSearchParams({ start: since().toISOString() });
  if (model()) asked.set("model", model());
  try {
    const { verdicts, false_alarms, escapes } = await ask(`/v1/counts?${asked}`);
    const all = verdicts.OK + verdicts.REVIEW + verdicts.NG;
    for (const [word, many] of Object.entries(verdicts)) {
      byId(`count-${word}`).textContent = number(many);
      byId(`share-${word}`).textContent = all ? `${(100 * many / all).toFixed(1)} %` : "";
    }
    byId("count-all").textContent = number(all);
    byId("corrected").textContent = `${number(false_alarms)} false alarms, ${number(escapes)} escapes`;
  } catch { /* said by the state */ }
}

function thumb(one) {
  if (!one.links.small) return element("span", { class: "thumb none" }, "no image");
  const image = element("img", { alt: "", loading: "lazy" });
  picture(image, one.links.small);
  const boxes = drawing("svg", { viewBox: `0 0 ${one.width} ${one.height}`, preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
  for (const { box: [x, y, width, height] } of one.regions.slice(0, 30)) boxes.append(drawing("rect", { x, y, width, height, class: one.standing }));
  return element("span", { class: "thumb" }, image, boxes);
}

function card(one) {
  const name = element("bdi", {}, called(one));
  const line = element("span", { class: "meter" }, meter(one.score, one.thresholds));
  const told = element("span", { class: "told" }, chip(one.standing), ` ${score(one.score)}`);
  const made = element("a", { href: `/inspections/${one.id}`, class: "card" }, thumb(one), told, line, element("span", { class: "name" }, name),
    element("span", { class: "quiet" }, when(one.at, { timeStyle: "medium" })));
  return element("li", { id: `card-${one.id}` }, made);
}

async function draw() {
  if (drawing_ || !shown) return;
  drawing_ = true;
  const one = shown, image = byId("picture");
  if (one.links.overlay) {
    image.hidden = false;
    byId("nothing").hidden = true;
    await Promise.race([picture(image, one.regions.length ? one.links.overlay : one.links.image), new Promise((go) => setTimeout(go, 8000))]);
    image.alt = `${called(one)}, ${one.standing}`;
  } else {
    image.hidden = true;
    byId("nothing").hidden = false;
    byId("nothing").textContent = "The image is not kept.";
  }
  drawing_ = false;
  if (shown !== one) setTimeout(draw, 150);
}

function showLast(one) {
  if (shown && shown.id === one.id && shown.standing === one.standing) return;
  shown = one;
  byId("last").className = `last ${one.standing}`;
  byId("verdict").textContent = one.standing;
  byId("score").textContent = score(one.score);
  byId("against").textContent = levels(one.thresholds).map(([word, level]) => `${word} above ${score(level)}`).join(", ");
  byId("bar").replaceChildren(meter(one.score, one.thresholds));
  byId("name").replaceChildren(element("bdi", {}, called(one)));
  byId("name").href = byId("open").href = `/inspections/${one.id}`;
  byId("when").textContent = when(one.at, { timeStyle: "medium" });
  byId("said").textContent = `${one.standing}, ${called(one)}, score ${score(one.score)}`;
  document.title = `${one.standing} · Live · blemish`;
  draw();
}

function clearLast() {
  shown = null;
  byId("last").className = "last none";
  byId("verdict").textContent = "–";
  for (const place of ["score", "against", "bar", "name", "when", "said"]) byId(place).replaceChildren();
  byId("name").textContent = "no part yet";
  byId("name").href = byId("open").href = "/history";
  byId("picture").hidden = true;
  byId("nothing").hidden = false;
  byId("nothing").textContent = "Parts appear here as they are judged.";
  document.title = "Live · blemish";
}

function take(one) {
  if (!mine(one)) return;
  const known = parts.get(one.id);
  if (known && known.standing === one.standing) return;
  parts.set(one.id, one);
  const list = byId("newest");
  if (known) byId(`card-${one.id}`)?.replaceWith(card(one));
  else {
    const next = [...list.children].find((item) => parts.get(Number(item.id.slice(5))).at <= one.at);
    list.insertBefore(card(one), next || null);
  }
  while (list.children.length > MOST) {
    parts.delete(Number(list.lastElementChild.id.slice(5)));
    list.lastElementChild.remove();
  }
  const first = list.firstElementChild && parts.get(Number(list.firstElementChild.id.slice(5)));
  if (first) showLast(first);
}

function state() {
  const place = byId("state");
  place.textContent = !connected ? "not connected" : paused ? `paused${held.length ? `, ${held.length} more` : ""}` : "live";
  place.className = `dot ${!connected ? "lost" : paused ? "paused" : "on"}`;
}

async function newest() {
  const asked = new URLSearchParams({ limit: MOST });
  if (model()) asked.set("model", model());
  const { inspections } = await ask(`/v1/inspections?${asked}`);
  for (const one of inspections.reverse()) if (paused) held.push(one); else take(one);
}

function pause() {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", paused);
  byId("pause").firstElementChild.textContent = paused ? "Go on" : "Pause";
  if (!paused) { held.slice(-2 * MOST).forEach(take); held = []; count(); }
  state();
}

function listen() {
  const events = new EventSource("/v1/events");
  events.onopen = async () => { connected = true; state(); await newest().catch(() => {}); count(); };
  events.onerror = () => {
    connected = false;
    state();
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
  events.onmessage = ({ data }) => {
    const one = JSON.parse(data);
    if (paused) { held.push(one); if (held.length > 1000) held.shift(); state(); return; }
    take(one);
    countSoon();
  };
}

byId("pause").addEventListener("click", pause);
document.addEventListener("keydown", (event) => { if (!typing(event) && event.key.toLowerCase() === "p") pause(); });
byId("span").value = localStorage.getItem("blemish.span") || "8";
byId("span").addEventListener("change", () => { localStorage.setItem("blemish.span", byId("span").value); count(); });
byId("model")?.addEventListener("change", () => { parts.clear(); clearLast(); byId("newest").replaceChildren(); newest(); count(); });
setInterval(() => { if (!paused) count(); }, 30_000);
listen();
