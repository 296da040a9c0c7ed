// Regions, and what is found of each size and each type, at the thresholds that are chosen.
const MOST_ROWS = 25;
const regions = data.images.flatMap((image) => image.regions.map((region) => ({ ...region, image })));
const sorting = { by: "peak", down: true, rows: MOST_ROWS };
const KEYS = { peak: (one) => one.peak, area: (one) => one.area, share: (one) => one.area / (one.image.width * one.image.height), name: (one) => one.image.folded };

// A mean is a score; an area in square millimetres has no scale of its own.
function numbered(name, value) {
  if (value === undefined || value === null) return "–";
  return name === "mean" ? shownScore(value) : String(Number(value.toPrecision(3)));
}

function showRegions() {
  const key = KEYS[sorting.by];
  regions.sort((one, other) => ((key(one) > key(other)) - (key(one) < key(other))) * (sorting.down ? -1 : 1) || other.peak - one.peak);
  const open = (image) => { $("#filters").reset(); showView(); refind(); openViewer(gallery.found.indexOf(image)); };
  $("#regions tbody").replaceChildren(...regions.slice(0, sorting.rows).map((region) => make("tr", {},
    make("td", {}, make("button", { type: "button", class: "link", onclick: () => open(region.image) }, make("bdi", { text: region.image.name }))),
    make("td", { class: "num", text: shownScore(region.peak) }), make("td", { class: "num", text: region.area }),
    make("td", { class: "num", text: shared(region.area, region.image.width * region.image.height) }),
    make("td", { class: "num", text: placed(region) }),
    ...data.extra.map((name) => make("td", { class: "num", text: numbered(name, region[name]) })))));
  for (const head of document.querySelectorAll("#regions th[data-by]")) {
    head.setAttribute("aria-sort", head.dataset.by !== sorting.by ? "none" : sorting.down ? "descending" : "ascending");
  }
  $("#region-count").textContent = regions.length > sorting.rows ? `${sorting.rows} of ${regions.length} regions` : many(regions.length, "region");
  $("#more-regions").classList.toggle("gone", regions.length <= sorting.rows);
}

const defects = data.images.filter((image) => image.label && image.label !== "good");
const isFound = (image) => image.score > state.review;

function recallRow(name, images) {
  const found = images.filter(isFound).length, share = images.length ? found / images.length : 0;
  const meter = draw("svg", { class: "meter", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "back", width: 100, height: 8 }), draw("rect", { class: "fill", width: 100 * share, height: 8 }));
  return make("tr", {}, make("th", { scope: "row" }, make("bdi", { text: name })), make("td", { class: "num", text: `${found} of ${images.length}` }),
    make("td", { class: "num", text: shared(found, images.length) }), make("td", { class: "meters" }, meter));
}

// The least areas of at most five ranges that hold about as many defects each, as `blemish evaluate` has them.
function areaBins(images) {
  const areas = images.map((image) => image.area).sort((one, other) => one - other);
  const edges = [...new Set([0, 1, 2, 3, 4].map((part) => areas[Math.floor((areas.length * part) / 5)]))];
  return edges.map((low, index) => ({ low, high: edges[index + 1] ?? Infinity }));
}

// The smallest area from which on nine of ten are found, of ten defects at least.
const ENOUGH = 10;
function foundFrom(images) {
  const down = [...images].sort((one, other) => other.area - one.area);
  let found = 0, best = null;
  down.forEach((image, index) => {
    found += isFound(image);
    const last = index === down.length - 1 || down[index + 1].area < image.area;
    if (last && index + 1 >= ENOUGH && found >= 0.9 * (index + 1)) best = { area: image.area, found, of: index + 1 };
  });
  return best;
}

function showRecall() {
  if (!data.truth) return;
  const types = [...new Set(defects.map((image) => image.label))].sort();
  $("#by-type tbody").replaceChildren(...types.map((type) => recallRow(type, defects.filter((one) => one.label === type))),
    ...(types.length > 1 ? [recallRow("all defective", defects)] : []));
  const sized = defects.filter((image) => image.area);
  $("#by-area").classList.toggle("gone", !sized.length);
  const bins = sized.length ? areaBins(sized) : [];
  const within = ({ low, high }) => sized.filter((image) => image.area >= low && image.area < high);
  const name = ({ low, high }) => (high === Infinity ? `from ${low} px` : high - 1 > low ? `${low} to ${high - 1} px` : `${low} px`);
  $("#by-area tbody").replaceChildren(...bins.map((bin) => recallRow(name(bin), within(bin))));
  const best = foundFrom(sized), bare = defects.length - sized.length;
  $("#found-from").textContent = [
    !sized.length ? "No defect has a mask, so sizes are not known." : sized.length < ENOUGH
      ? `Only ${many(sized.length, "defective image")} with a mask: too few to say from which size on they are found.` : best
      ? `Found ${best.found} of ${best.of} from ${best.area} px up.` : "At no size nine of ten are found.",
    sized.length && bare ? `${many(bare, "defective image")} without a mask not counted here.` : "",
  ].filter(Boolean).join(" ");
}

function startTables() {
  for (const button of document.querySelectorAll("#regions th[data-by] button")) {
    button.addEventListener("click", () => {
      const by = button.parentElement.dataset.by;
      sorting.down = by === sorting.by ? !sorting.down : by !== "name";
      sorting.by = by;
      showRegions();
    });
  }
  $("#more-regions").addEventListener("click", () => { sorting.rows += 200; showRegions(); });
  $("#copy-without")?.addEventListener("click", () => copyText($("#without").textContent, "command"));
  listeners.rest.push(showRecall);
  showRegions();
  showRecall();
}
