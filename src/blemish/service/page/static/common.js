// What all pages share: elements, times, meters, the name of who sits here, and requests.

export const ZONE = -new Date().getTimezoneOffset();
const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

export function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const chip = (verdict) => element("span", { class: `chip ${verdict}` }, verdict);
export const number = (count) => count.toLocaleString("en-US");
export const score = (value) => value.toFixed(3);
export const called = (one) => one.name || `part ${one.id}`;
export const levels = ({ review, ng }) => (ng === null ? [["NG", review]] : [["REVIEW", review], ["NG", ng]]);

export function meter(value, thresholds) {
  const top = 1.25 * Math.max(value, ...levels(thresholds).map(([, level]) => level));
  const at = (one) => (200 * Math.min(one / top, 1)).toFixed(1);
  const zones = levels(thresholds);
  const svg = drawing("svg", { viewBox: "0 0 200 12", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(drawing("rect", { class: "zone OK", x: 0, y: 3, width: at(zones[0][1]), height: 6 }));
  zones.forEach(([word, level], index) => {
    const end = index + 1 < zones.length ? at(zones[index + 1][1]) : 200;
    svg.append(drawing("rect", { class: `zone ${word}`, x: at(level), y: 3, width: Math.max(end - at(level), 0), height: 6 }));
  });
  svg.append(drawing("rect", { class: "at", x: Math.max(at(value) - 1.5, 0), y: 0, width: 3, height: 12 }));
  return svg;
}

const LONG = { dateStyle: "medium", timeStyle: "medium" };
export function when(text, options = LONG) {
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(text));
}

export async function ask(place, options = {}) {
  const answer = await fetch(place, options);
  if (answer.status === 401) location.reload();
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  let line = answer.statusText;
  try { line = (await answer.json()).error; } catch { /* it is no JSON */ }
  throw Object.assign(new Error(line), { status: answer.status });
}

export function post(place, value) {
  return ask(place, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
}

// Pictures are drawn when there is time, two at once: images from the line go first, so one that is refused is asked
// for again.
const line = [];
let drawn = 0;
export async function picture(image, place, tries = 4) {
  image.dataset.place = place;
  if (drawn >= 2) await new Promise((go) => line.push(go));
  drawn += 1;
  try { return await load(image, place, tries); } finally { drawn -= 1; line.shift()?.(); }
}

function load(image, place, tries) {
  if (image.dataset.place !== place) return false;
  return new Promise((resolve) => {
    const again = () => {
      if (image.dataset.place !== place || tries-- <= 0) return resolve(false);
      setTimeout(() => { if (image.dataset.place === place) image.src = `${place}?again=${tries}`; else resolve(false); }, 1200);
    };
    image.onload = () => { image.classList.add("there"); resolve(true); };
    image.onerror = again;
    image.src = place;
  });
}

export function who() {
  const field = byId("who");
  if (field.value.trim()) return field.value.trim();
  field.focus();
  field.classList.add("wanted");
  throw new Error("Type your name first, at the top.");
}

export function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]):not([type=checkbox]), select, textarea");
}

function begin() {
  const field = byId("who");
  if (field) {
    field.value = localStorage.getItem("blemish.who") || "";
    field.addEventListener("input", () => { localStorage.setItem("blemish.who", field.value); field.classList.remove("wanted"); });
  }
  byId("sign-out")?.addEventListener("click", async () => { await post("/sign-out", {}); location.href = "/"; });
  for (const time of document.querySelectorAll("time[datetime]")) time.textContent = when(time.dateTime);
  for (const time of document.querySelectorAll("[data-time]")) {
    time.textContent = when(time.dataset.time, time.dataset.each === "hour" ? { weekday: "short", hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });
  }
  for (const place of document.querySelectorAll(".meter[data-score]")) {
    const { score: value, review, ng } = place.dataset;
    place.append(meter(Number(value), { review: Number(review), ng: ng === "" ? null : Number(ng) }));
  }
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      try { await navigator.clipboard.writeText(button.dataset.copy); button.textContent = "Copied"; }
      catch { getSelection().selectAllChildren(button.previousElementSibling); button.textContent = "Selected"; }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) { seen.unobserve(target); picture(target, target.dataset.src); }
  });
  for (const image of document.querySelectorAll("img[data-src]")) seen.observe(image);
  document.body.classList.add("ready");
}

begin();
