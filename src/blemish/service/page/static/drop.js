// Images dropped, pasted or chosen: sent two at a time, each with its progress, its verdict, or why there is none.
import { byId, called, chip, element, meter, score, typing } from "./common.js";

const AT_ONCE = 2;
const waiting = [];
const done = { OK: 0, REVIEW: 0, NG: 0, failed: 0 };
let busy = 0, given = 0;

function send(file, onProgress) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const asked = new URLSearchParams({ name: file.name, source: "page" });
    request.open("POST", `/v1/models/${encodeURIComponent(byId("model").value)}/inspections?${asked}`);
    request.setRequestHeader("Content-Type", file.type.startsWith("image/") ? file.type : "image/unknown");
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => resolve(request);
    request.onerror = () => resolve(null);
    request.send(file);
  });
}

function said(request) {
  if (!request) return "the server cannot be reached";
  try { return JSON.parse(request.responseText).error; } catch { return request.statusText; }
}

async function judge({ file, row }) {
  const progress = row.querySelector("progress");
  for (let tries = 0; ; tries++) {
    const request = await send(file, (share) => { progress.value = share; });
    if (request?.status === 503 && tries < 20) {
      await new Promise((go) => setTimeout(go, 1000 * Number(request.getResponseHeader("Retry-After") || 1)));
      continue;
    }
    return request?.status === 201 ? found(row, JSON.parse(request.responseText)) : failed(row, said(request));
  }
}

function found(row, one) {
  done[one.verdict] += 1;
  row.className = `row ${one.verdict}`;
  const link = element("a", { href: `/inspections/${one.id}`, class: "name" }, element("bdi", {}, called(one)));
  const told = `${one.regions.length} ${one.regions.length === 1 ? "region" : "regions"}`;
  row.querySelector(".told").replaceChildren(chip(one.verdict));
  row.querySelector(".middle").replaceChildren(link, element("span", { class: "quiet" }, told));
  row.querySelector(".end").replaceChildren(element("span", { class: "scored" }, score(one.score), " ", element("span", { class: "meter" }, meter(one.score, one.thresholds))));
}

function failed(row, line) {
  done.failed += 1;
  row.className = "row failed";
  row.querySelector(".told").replaceChildren(element("span", { class: "chip" }, "not judged"));
  row.querySelector(".end").replaceChildren();
  row.querySelector(".middle").append(element("span", { class: "fault" }, line));
}

function summary() {
  const finished = done.OK + done.REVIEW + done.NG + done.failed;
  const words = ["OK", "REVIEW", "NG"].map((word) => `${done[word]} ${word}`);
  if (done.failed) words.push(`${done.failed} not judged`);
  byId("summary").textContent = `${finished} of ${given}: ${words.join(", ")}`;
  byId("progress").hidden = finished === given;
  byId("progress").value = given ? finished / given : 0;
}

async function work() {
  if (busy >= AT_ONCE || !waiting.length) return;
  busy += 1;
  await judge(waiting.shift());
  busy -= 1;
  summary();
  work();
}

function take(files) {
  for (const file of files) {
    const image = element("img", { alt: "", width: 64, height: 48 });
    const place = URL.createObjectURL(file);
    image.onload = () => URL.revokeObjectURL(place);
    image.onerror = () => { image.hidden = true; URL.revokeObjectURL(place); };
    image.src = place;
    const row = element("li", { class: "row" }, element("span", { class: "thumb" }, image), element("span", { class: "told" }, "…"),
      element("span", { class: "middle" }, element("bdi", { class: "name" }, file.name)), element("span", { class: "end" }, element("progress", { max: 1, value: 0, "aria-label": `${file.name} is sent` })));
    byId("results").prepend(row);
    waiting.push({ file, row });
    given += 1;
  }
  summary();
  for (let index = 0; index < AT_ONCE; index++) work();
}

const zone = byId("zone");
byId("files").addEventListener("change", (event) => { take([...event.target.files]); event.target.value = ""; });
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.remove("over"); });
document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
document.addEventListener("paste", (event) => { if (!typing(event)) take([...event.clipboardData.files]); });
