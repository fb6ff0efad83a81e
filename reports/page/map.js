
// The map of the features of one run: squares are labeled images, dots the others.
const at = (id) => document.getElementById(id);
const maps = at("maps") ? JSON.parse(at("map-data").textContent) : [];
const MAX_NUMBERS = 100;  // labeled images; more numbers would hide each other
let points = [];          // of the map in view, each with its `shape`; labeled ones first, in order
let current = null;       // the labeled point that is described

const mapInView = () => maps[at("map-run").value];
const classOf = (number) => number < 0 ? "none" : mapInView().classes[number];
const cycleName = (cycle) => cycle ? `after cycle ${cycle}` : "first labels";

/** The points with names for their numbers. */
function readPoints(map) {
  return map.points.map(([x, y, predicted, index, cycle = -1, label = -1, tile = null]) =>
    ({ x, y, predicted, index, cycle, label, tile, isLabeled: cycle >= 0 }));
}

function describePoint({ index, isLabeled, label, cycle, predicted }) {
  const labeled = isLabeled ? `, labeled ${classOf(label)} (${cycleName(cycle)})` : "";
  return `image ${index}${labeled}, predicted ${classOf(predicted)}`;
}

/** Draw the map of the chosen run. */
function drawMap() {
  const map = mapInView();
  points = readPoints(map);
  const labeled = points.filter((point) => point.isLabeled);
  for (const point of points) {
    const { x, y, isLabeled } = point;
    point.shape = makePoint(at("points"), x, y, isLabeled, "", describePoint(point));
  }
  const others = points.filter((point) => !point.isLabeled);
  at("points").replaceChildren(...[...others, ...labeled].map(({ shape }) => shape));
  at("numbers").replaceChildren();
  if (labeled.length <= MAX_NUMBERS) labeled.forEach(drawNumber);
  const cycles = labeled.map(({ cycle }) => cycle);
  const names = [...Array(Math.max(0, ...cycles) + 1).keys()].map(cycleName);
  at("map-cycle").replaceChildren(...classOptions(cycles, names));
  at("map-predicted").replaceChildren(
    ...classOptions(points.map(({ predicted }) => predicted), map.classes));
  at("map-caption").textContent = map.caption;
  describeLabeled(null);
  colourPoints();
  filterPoints();
}

/** The cycle of a labeled image beside its square. */
function drawNumber(point) {
  const text = document.createElementNS(at("numbers").namespaceURI, "text");
  text.setAttribute("x", 100 * point.x + 1.1);
  text.setAttribute("y", 100 * (1 - point.y) - .6);
  text.textContent = point.cycle;
  point.number = text;
  at("numbers").append(text);
}

/** By cycle: squares from one colour to another, dots grey; by class: label or prediction. */
function colourPoints() {
  const byCycle = at("map-colours").value === "cycle";
  const last = Math.max(1, ...points.map(({ cycle }) => cycle));
  for (const { shape, isLabeled, cycle, label, predicted } of points) {
    shape.setAttribute("class", !byCycle ? colourOf(isLabeled ? label : predicted)
      : isLabeled ? "cycle" : "unknown");
    shape.style.setProperty("--share", `${100 * cycle / last}%`);
  }
  at("key-cycle").hidden = !byCycle;
  at("key-class").hidden = byCycle;
  const used = new Set(points.flatMap(({ label, predicted }) => [label, predicted]));
  at("key-classes").replaceChildren(...mapInView().classes.flatMap((name, n) => {
    if (!used.has(n)) return [];
    const item = document.createElement("li");
    item.className = colourOf(n);
    item.textContent = name;
    return [item];
  }));
}

const isChosen = (name, value) => at(name).value === "all" || value === Number(at(name).value);
const isInView = (point) => isChosen("map-predicted", point.predicted)
  && (!point.isLabeled || isChosen("map-cycle", point.cycle));

/** Dim the points that the choices leave out. */
function filterPoints() {
  for (const point of points) {
    point.shape.classList.toggle("dim", !isInView(point));
    point.number?.classList.toggle("dim", !isInView(point));
  }
  const inView = points.filter(isInView);
  const labeled = inView.filter((point) => point.isLabeled).length;
  if (current && !isInView(current)) describeLabeled(null);
  at("map-count").textContent =
    `${inView.length} of ${points.length} images, ${labeled} of them labeled.`;
}

/** Mark a labeled point, and say what it is; null: none. */
function describeLabeled(point) {
  current = point;
  at("mark").setAttribute("visibility", point ? "visible" : "hidden");
  at("map-tile").hidden = !point?.tile;
  at("map-point").textContent = "";
  if (!point) return;
  at("mark").setAttribute("cx", 100 * point.x);
  at("mark").setAttribute("cy", 100 * (1 - point.y));
  if (point.tile) {
    at("map-tile").className = `tile tile-${mapInView().run}`;
    at("map-tile").style.backgroundPosition = point.tile.map((one) => `${one}px`).join(" ");
  }
  const labeled = points.filter((one) => one.isLabeled);
  const number = labeled.indexOf(point) + 1;
  at("map-point").textContent = `${number} of ${labeled.length}: ${describePoint(point)}`;
}

/** Go to the labeled point in view that comes before or after the current one. */
function stepLabeled(step) {
  const labeled = points.filter((point) => point.isLabeled && isInView(point));
  if (!labeled.length) return;
  const from = current ? labeled.indexOf(current) : step > 0 ? -1 : 0;
  describeLabeled(labeled[(from + step + labeled.length) % labeled.length]);
}

/** Go to the labeled point in view that is nearest to the pointer. */
function chooseNearest(event) {
  const { left, top, width, height } = at("plane").getBoundingClientRect();
  const [x, y] = [(event.clientX - left) / width, 1 - (event.clientY - top) / height];
  const distance = (point) => Math.hypot(point.x - x, point.y - y);
  const [nearest] = points.filter((point) => point.isLabeled && isInView(point))
    .sort((one, other) => distance(one) - distance(other));
  if (nearest) describeLabeled(nearest);
}

if (maps.length) {
  at("map-form").addEventListener("submit", (event) => event.preventDefault());
  at("map-run").addEventListener("change", drawMap);
  at("map-colours").addEventListener("change", colourPoints);
  at("map-colours").addEventListener("change", filterPoints);
  at("map-cycle").addEventListener("change", filterPoints);
  at("map-predicted").addEventListener("change", filterPoints);
  at("map-previous").addEventListener("click", () => stepLabeled(-1));
  at("map-next").addEventListener("click", () => stepLabeled(1));
  at("plane").addEventListener("click", chooseNearest);
  drawMap();
}
