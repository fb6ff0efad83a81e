
// ---- The filter by predicted class, and the map of the features. The map shows images as points:
// squares have a label, numbered buttons are the new images, dots are the others.

const isPredicted = (value) => (i) => value === "all" || images[i].guess === Number(value);

/** Show the new images with this predicted class: "all" or the number of a class. */
function showPredicted(value) {
  shown = newImages.filter(isPredicted(value));
  const visible = new Set(shown);
  for (const i of newImages) cards[i].card.hidden = !visible.has(i);
  at("predicted").value = value;
}

/** Show the images of the chosen class, and go to the first of them. */
function choosePredicted() {
  showPredicted(at("predicted").value);
  fitCards();
  if (!shown.includes(current)) goTo(shown[0]);
  announce(`${shown.length} of ${newImages.length} new images.`);
}

const className = (label) => label < 0 ? "no prediction" : classNames[label];

const pickButtons = [];   // of the new images on the map, in their order

function drawMap() {
  for (const [x, y, label, predicted, i] of featureMap.points) {
    if (i >= 0) {
      const button = create("button", {
        type: "button", className: `pick ${colourOf(predicted)}`, textContent: i + 1, tabIndex: -1,
      });
      button.style.left = `${100 * x}%`;
      button.style.top = `${100 * (1 - y)}%`;
      button.dataset.predicted = predicted;
      button.addEventListener("click", () => showPick(i));
      pickButtons[i] = button;
      continue;
    }
    const shape = label >= 0
      ? makePoint(at("points"), x, y, true, colourOf(label), `labeled ${className(label)}`)
      : makePoint(at("points"), x, y, false, colourOf(predicted),
        `predicted ${className(predicted)}`);
    shape.dataset.predicted = predicted;
    at("points").append(shape);
  }
  at("picks").append(...pickButtons);
  pickButtons[0].tabIndex = 0;
  at("map-caption").textContent = featureMap.caption;
}

/** Close the map and go to a new image. */
function showPick(i) {
  at("map").close();
  goTo(secondLooks.length + i);
  focusImage();
  announce();
}

function openMap() {
  if (!pickButtons.length) drawMap();
  pickButtons.forEach((button, i) => {
    const image = secondLooks.length + i;
    const name = answers[image]?.name ?? "not answered";
    const { guess: guessed } = images[image];
    const guess = guessed === null ? "" : `, predicted ${className(guessed)}`;
    button.setAttribute("aria-label", `${i + 1}: ${name}${guess}`);
    button.classList.toggle("answered", answers[image] !== null);
  });
  at("map").showModal();
}

/** Dim all points of the map but those of a predicted class. */
function filterMap() {
  const value = at("map-predicted").value;
  const points = [...at("points").children, ...pickButtons];
  const isShown = (point) => value === "all" || point.dataset.predicted === value;
  for (const point of points) point.classList.toggle("dim", !isShown(point));
  const picks = pickButtons.filter(isShown).length;
  at("map-status").textContent =
    `${points.filter(isShown).length} of ${points.length} points, ${picks} of them new images.`;
}

/** Move between the new images on the map. */
function handleMapKey(event) {
  const position = pickButtons.indexOf(event.target);
  if (position < 0) return;
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const to = { Home: 0, End: pickButtons.length - 1 }[event.key] ?? position + step;
  if (!pickButtons[to]) return;
  event.preventDefault();
  pickButtons[position].tabIndex = -1;
  pickButtons[to].tabIndex = 0;
  pickButtons[to].focus();
}

const hasGuesses = queries.some(({ guess }) => guess !== null);
at("predicted-choice").hidden = !hasGuesses;
at("predicted").replaceChildren(...classOptions(newImages.map((i) => images[i].guess), classNames));
at("predicted").addEventListener("change", choosePredicted);
at("open-map").hidden = !featureMap;
if (featureMap) {
  at("map-choice").hidden = !hasGuesses;
  at("map-predicted").replaceChildren(
    ...classOptions(featureMap.points.map(([, , , predicted]) => predicted), classNames));
  at("map-predicted").addEventListener("change", filterMap);
  at("open-map").addEventListener("click", openMap);
  at("close-map").addEventListener("click", () => at("map").close());
  at("map").addEventListener("close", focusImage);
}
fitCards();  // the header may have grown
