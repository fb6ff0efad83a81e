// ---- A map of features in the plane, of the labeling page and of the report.  Its points are
// squares for labeled images and dots for the others, in the colour of a class (map_plane.css).

const CLASS_COLOURS = 10;  // further classes begin again
const colourOf = (label) => label < 0 ? "unknown" : `colour${label % CLASS_COLOURS}`;

/** A square or a dot of the SVG, whose sides have the length 100; x and y from 0 to 1. */
function makePoint(svg, x, y, isLabeled, colour, text) {
  const [left, top] = [100 * x, 100 * (1 - y)];
  const attributes = isLabeled ? { x: left - .8, y: top - .8, width: 1.6, height: 1.6 }
    : { cx: left, cy: top, r: .6 };
  const shape = document.createElementNS(svg.namespaceURI, isLabeled ? "rect" : "circle");
  shape.setAttribute("class", colour);
  for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
  const title = document.createElementNS(svg.namespaceURI, "title");
  title.textContent = text;
  shape.append(title);
  return shape;
}

/** The choices of a class: for each number of a class its name and how often it occurs. */
function classOptions(numbers, classNames) {
  const counts = classNames.map((name, n) => [n, name, numbers.filter((one) => one === n).length]);
  return [["all", "All", numbers.length], ...counts.filter(([, , count]) => count)]
    .map(([value, name, count]) => new Option(`${name} (${count})`, value));
}
