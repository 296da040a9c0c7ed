// What the page is about, what is chosen on it, and the counts that follow from both.
const data = JSON.parse(document.getElementById("data").textContent);
const WORDS = ["OK", "REVIEW", "NG"];
const $ = (selector, root = document) => root.querySelector(selector);
const state = { review: data.thresholds.review, ng: data.thresholds.ng, marks: new Map() };
const listeners = { thresholds: [], marks: [], rest: [] };
let frame = 0;

// What follows from a threshold at once, and the rest with the next picture that the screen shows.
function changed(what) {
  for (const listener of listeners[what]) listener();
  if (what === "thresholds" && !frame) {
    frame = requestAnimationFrame(() => {
      frame = 0;
      for (const listener of listeners.rest) listener();
    });
  }
}

function verdictOf(score) {
  if (score <= state.review) return "OK";
  return state.ng === null || score > state.ng ? "NG" : "REVIEW";
}

// The held-out scores that count, of each group the highest, highest first.
const units = (() => {
  const groups = new Map();
  data.held.forEach((one, index) => {
    const key = one.group ? `group ${one.group}` : `image ${index}`;
    if (!groups.has(key) || groups.get(key).score < one.score) groups.set(key, one);
  });
  return [...groups.values()].sort((one, other) => other.score - one.score);
})();

// A threshold promises what the highest held-out score at or below it does: the k-th highest of n, k / (n + 1).
function promiseOf(threshold) {
  const n = units.length;
  const k = 1 + units.filter((one) => one.score > threshold).length;
  return { k, n, rate: n ? Math.min(1, k / (n + 1)) : null };
}

function percent(rate) {
  if (!rate) return "0 %";
  const digits = 1 - Math.floor(Math.log10(100 * rate) + 1e-12);
  const value = Math.ceil(100 * rate * 10 ** digits - 1e-6) / 10 ** digits;
  return `${digits > 0 ? String(Number(value.toFixed(digits))) : value.toFixed(0)} %`;
}

function promiseText(threshold) {
  const { k, n, rate } = promiseOf(threshold);
  if (rate === null) return "no promise: no held-out scores";
  if (k > n) return "no promise: every held-out score is higher";
  return `at most ${percent(rate)} (${k} of ${n + 1})`;
}

// Counts of images by verdict; truth: what says of an image whether it is good (true), defective (false) or neither.
function counted(images, truth) {
  const found = { good: { OK: 0, REVIEW: 0, NG: 0 }, bad: { OK: 0, REVIEW: 0, NG: 0 }, all: { OK: 0, REVIEW: 0, NG: 0 } };
  for (const image of images) {
    const verdict = verdictOf(image.score);
    found.all[verdict] += 1;
    const good = truth(image);
    if (good !== null) found[good ? "good" : "bad"][verdict] += 1;
  }
  return found;
}

const total = (row) => row.OK + row.REVIEW + row.NG;
const many = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
// Where a region lies; of one that is the whole surface no place stands out.
const placed = (region) => (region.surface ? "whole surface" : region.box.join(", "));

function shared(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  return part && share < 0.05 ? "< 0.1 %" : `${share.toFixed(1)} %`;
}

// Scores are shown to as many digits as tell a pixel of the histogram from the next.
const range = (() => {
  const scores = [...data.held, ...data.images].map((one) => one.score);
  const known = [...scores, data.thresholds.review, data.thresholds.ng ?? data.thresholds.review];
  const low = Math.min(...known), high = Math.max(...known);
  const room = 0.04 * (high - low) || 0.01;
  return { low: Math.max(0, low - room), high: Math.min(1, high + room) > low ? Math.min(1, high + room) : high + room };
})();
const digits = Math.max(3, Math.ceil(-Math.log10((range.high - range.low) / 250)));
const shownScore = (score) => (score === null ? "–" : score.toFixed(digits));
const rounded = (score) => Number(score.toFixed(digits));

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const chip = (verdict, title) => make("span", { class: `chip ${verdict}`, text: verdict, title });

function say(text) {
  $("#said").textContent = text;
}

async function copyText(text, what) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const field = make("textarea", { class: "unseen", text });
    ($("dialog[open]") ?? document.body).append(field);
    field.select();
    done = document.execCommand("copy");
    field.remove();
  }
  say(done ? `${what} copied` : `${what} could not be copied; select it and copy it by hand`);
}
