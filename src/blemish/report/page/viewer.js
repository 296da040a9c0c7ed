// One image, large: a slider between picture and overlay, its regions, its mark.
const viewer = $("#viewer");
let opened = null;

// The full picture takes the place of the small one once it is there; where it is missing the small one stays.
function sharpen(image, box) {
  const bases = box.querySelectorAll("img.base");
  if (!image.full) $("#viewer-note").textContent = "The full picture is not at hand; this is the small one.";
  if (image.full && bases.length) {
    const full = new Image();
    full.onload = () => bases.forEach((base) => { base.src = full.src; });
    full.onerror = () => { $("#viewer-note").textContent = "The full picture is not where it was; this is the small one."; };
    full.src = image.full;
  }
  const over = $("img.over", box);
  if (image.overlay && over && !image.heat) {
    const full = new Image();
    full.onload = () => { over.src = full.src; };
    full.src = image.overlay;
  }
}

function openViewer(place) {
  opened = place;
  showImage();
  if (!viewer.open) viewer.showModal();
  $("#stage").focus();
}

function showImage() {
  const image = gallery.found[opened];
  $("#viewer-note").textContent = "";
  const box = layers(image, true);
  $("#stage").style.setProperty("--wide", image.width / image.height || 1);
  $("#stage").replaceChildren(box, draw("svg", { class: "outline chosen", viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" }));
  $("#stage").setAttribute("aria-label", described(image));
  $("#viewer-name").textContent = image.name;
  $("#viewer-where").textContent = `${opened + 1} of ${gallery.found.length}`;
  $("#viewer-before").disabled = opened === 0;
  $("#viewer-after").disabled = opened === gallery.found.length - 1;
  const link = $("#viewer-link");
  link.classList.toggle("gone", !image.full || image.full.startsWith("data:"));
  if (image.full && !image.full.startsWith("data:")) link.href = image.full;
  const area = image.area ? [`${image.area} px defective`] : [];
  $("#viewer-facts").replaceChildren(...[
    ["verdict", chip(verdictOf(image.score))],
    ["score", `${shownScore(image.score)}; ${state.ng === null ? "NG" : "REVIEW"} above ${shownScore(state.review)}${state.ng === null ? "" : `, NG above ${shownScore(state.ng)}`}`],
    ...(image.label ? [["truth", make("bdi", { text: [image.label, ...area].join(", ") })]] : []),
    ["size", `${image.width} × ${image.height} px`],
  ].flatMap(([name, value]) => [make("dt", { text: name }), make("dd", {}, value)]));
  $("#viewer-regions tbody").replaceChildren(...image.regions.map((region) => regionRow(region, image)));
  $("#viewer-regions").classList.toggle("gone", !image.regions.length);
  showMark();
}

function regionRow(region, image) {
  const choose = () => chooseRegion(region);
  return make("tr", { tabindex: 0, onmouseenter: choose, onfocus: choose, onmouseleave: () => chooseRegion(null), onblur: () => chooseRegion(null) },
    make("td", { class: "num", text: shownScore(region.peak) }), make("td", { class: "num", text: region.area }),
    make("td", { class: "num", text: shared(region.area, image.width * image.height) }), make("td", { class: "num", text: placed(region) }));
}

function chooseRegion(region) {
  const place = $("#stage .chosen");
  place.replaceChildren();
  if (!region) return;
  const [x, y, width, height] = region.box;
  place.append(draw("rect", { class: "casing", x, y, width, height }), draw("rect", { class: "line", x, y, width, height }));
}

function showMark() {
  const mark = state.marks.get(gallery.found[opened].index) ?? "";
  for (const button of document.querySelectorAll("#viewer [data-mark]")) {
    button.setAttribute("aria-pressed", button.dataset.mark === mark);
  }
}

function move(by) {
  if (opened + by < 0 || opened + by >= gallery.found.length) return;
  opened += by;
  showImage();
}

// Its card has the focus; if the cards were to be sorted meanwhile, now, and the card is where that puts it.
function leaveViewer() {
  const image = gallery.found[opened];
  if (gallery.late) {
    gallery.late = false;
    refind();
  }
  goTo(Math.max(0, gallery.found.indexOf(image)));
}

function wipe(share) {
  $("#stage").style.setProperty("--from", `${share}%`);
  $("#wipe").value = share;
}

function startViewer() {
  $("#viewer-before").addEventListener("click", () => move(-1));
  $("#viewer-after").addEventListener("click", () => move(1));
  $("#viewer-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("close", leaveViewer);
  $("#wipe").addEventListener("input", () => wipe(Number($("#wipe").value)));
  $("#stage").addEventListener("pointermove", (event) => {
    const box = $("#stage").getBoundingClientRect();
    wipe(Math.round((100 * (event.clientX - box.left)) / box.width));
  });
  for (const button of document.querySelectorAll("#viewer [data-mark]")) {
    button.addEventListener("click", () => setMark(gallery.found[opened], button.dataset.mark));
  }
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const slides = event.target === $("#wipe");
    if (event.key in MARK_KEYS) setMark(gallery.found[opened], MARK_KEYS[event.key]);
    else if (event.key === "ArrowRight" && !slides) move(1);
    else if (event.key === "ArrowLeft" && !slides) move(-1);
    else if (event.key.toLowerCase() === "o") wipe(Number($("#wipe").value) > 50 ? 0 : 100);
    else return;
    event.preventDefault();
  });
  listeners.marks.push(() => { if (viewer.open) showMark(); });
  wipe(0);
}
