"use strict";
// The images of queries.csv as a grid. A key or a click chooses the class of the current image. A
// second grid shows the images of earlier cycles, whose answers may be corrected.
//
// An image is a number: first those whose labels may be wrong, then those that are queried now, in
// the order of the table, then the others of earlier cycles. An answer is null, CANNOT_TELL,
// NONE_OF_THESE or an element of `classes`.

const {
  key, folder, classes: classNames, cells, skipAnswer, noneAnswer, notes, queries, secondLooks, earlier,
  map: featureMap,
} = JSON.parse(document.getElementById("queries").textContent);
const at = (id) => document.getElementById(id);
const images = [...secondLooks, ...queries, ...earlier];
const isDoubtful = (i) => i < secondLooks.length;  // it has a label, which may be wrong
const firstEarlier = secondLooks.length + queries.length;
const isEarlier = (i) => i >= firstEarlier;

const CANNOT_TELL = { name: "cannot tell" };
const NONE_OF_THESE = { name: "none of these" };
const SKIP_WORDS = ["cannot tell", "skip", "?", "-1", "-1.0"];  // no names of new classes
const NONE_WORDS = ["none of these", "none of the classes", "none of the above", "none of them"];
const classes = [];                 // { name, key, isNew, element, button }, in order of number
const accepted = [];                // the answers that the run already has; null if it has none
const answers = [];                 // the answers on the page
const revealedGuesses = new Set();  // images whose guess was requested before an answer
const undoStack = [];               // [image, its previous answer], the latest last
let current = 0;
const newImages = [...images.keys()].filter((i) => !isEarlier(i));
let shown = newImages;              // the images of the grid in view, in order
let saved = "";                     // contents of labels.csv when it was last saved
const lookedAt = new Set();         // doubtful images whose labels the person has decided on

const isCorrected = (i) => accepted[i] !== null && answers[i] !== accepted[i];
const isOpen = (i) => (isDoubtful(i) ? !lookedAt.has(i) : answers[i] === null);
const queried = newImages.filter((i) => !isDoubtful(i));
const unanswered = () => queried.filter(isOpen);
const doubtful = () => newImages.filter((i) => isDoubtful(i) && isOpen(i));

/** Create an element with some of its properties set. */
const create = (tag, properties) => Object.assign(document.createElement(tag), properties);

// ---- Which key chooses which class.

const KEYS = [..."abcdefghijklmnopqrstuvwxyz1234567890"];
const lettersOf = (name) => [...name.normalize("NFD").toLowerCase()];

/** [scheme, keys by class number] of the classes that the run has. */
function assignKeys() {
  const lowercase = classNames.map((name) => name.toLowerCase());
  const isSingle = lowercase.every((name) => /^[a-z0-9]$/.test(name));
  if (isSingle && new Set(lowercase).size === lowercase.length) return ["own", lowercase];
  if (classNames.length <= 10) return ["digits", [..."1234567890"].slice(0, classNames.length)];
  if (classNames.length > KEYS.length) return ["typed", []];
  const free = new Set(KEYS);
  const keys = classNames.map((name) => {  // the first free letter of the name, if there is one
    const letter = lettersOf(name).find((character) => free.has(character));
    free.delete(letter);
    return letter;
  });
  for (const [i, letter] of keys.entries()) {
    if (letter) continue;
    keys[i] = [...free][0];
    free.delete(keys[i]);
  }
  return ["letters", keys];
}

const [scheme, classKeys] = assignKeys();
const shortcutsOn = () => at("keys").checked;

/** The key of a new class: the next digit where digits are the keys, a letter of its name, or any
 * other; undefined if all are taken. */
function freeKey(name) {
  if (scheme === "typed") return undefined;
  const taken = new Set(classes.map((one) => one.key));
  const digits = scheme === "digits" ? "1234567890" : "";
  const wanted = [...digits, ...lettersOf(name), ...KEYS];
  return wanted.find((letter) => KEYS.includes(letter) && !taken.has(letter));
}

// ---- Classes: a button each. New ones, which the person has typed, can be removed again.

const classNamed = (name) => classes.find((one) => one.name === name);

function addClass(name, isNew) {
  const letter = isNew ? freeKey(name) : classKeys[classes.length];
  const button = create("button", { type: "button" });
  if (letter && letter !== name.toLowerCase()) {
    const hint = create("kbd", { textContent: letter });
    hint.setAttribute("aria-hidden", "true");
    button.append(hint);
  }
  if (letter) button.setAttribute("aria-keyshortcuts", letter);
  button.append(name);
  const one = { name, key: letter, isNew, button, element: button };
  button.addEventListener("click", (event) => {
    const byKeyboard = !event.detail;
    chooseClass(one);
    if (scheme === "typed" && byKeyboard) at("typed").focus();
  });
  if (isNew) {
    one.remove = create("button", { type: "button", className: "remove", textContent: "✕" });
    one.remove.setAttribute("aria-label", `Remove the new class ${name}`);
    one.remove.addEventListener("click", () => {
      removeClass(one);
      showClasses();
      storeProgress();
      focusImage();
      announce(`Removed the class ${name}.`);
    });
    one.element = create("span", { className: "new" });
    one.element.append(button, one.remove);
  }
  classes.push(one);
  return one;
}

const removeClass = (one) => { classes.splice(classes.indexOf(one), 1); };

/** Text as it is compared: without accents, case and surrounding blanks. */
const simplify = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().trim();

/** The classes whose names contain the typed text, first those that begin with it. */
function matchingClasses() {
  const typed = simplify(at("typed").value);
  const rank = ({ name }) => {
    const position = simplify(name).indexOf(typed);
    return position > 0 ? 1 : position;
  };
  const ranked = classes.map((one) => [rank(one), one]).filter(([position]) => position >= 0);
  return ranked.sort(([a], [b]) => a - b).map(([, one]) => one);
}

function showClasses() {
  const matches = matchingClasses();
  at("classes").replaceChildren(...matches.map(({ element }) => element));
  matches.forEach(({ button }, i) => { button.tabIndex = i ? -1 : 0; });
  return matches;
}

function filterClasses() {
  const matches = showClasses();
  at("classes").scrollTop = 0;
  if (!at("typed").value) return;
  const others = matches.length > 1 ? ` (${matches.length} classes match)` : "";
  tell(matches.length
    ? `Enter chooses ${matches[0].name}${others}.`
    : "No class matches. “New class” adds one.");
}

function clearSearch() {
  if (!at("typed").value) return;
  at("typed").value = "";
  showClasses();
}

// ---- Typing a new class.

/** Number of letters to insert, remove or replace that turn one text into the other. */
function editDistance(one, other) {
  let row = [...Array(other.length + 1).keys()];
  for (let i = 0; i < one.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const replaced = row[j] + (one[i] === other[j] ? 0 : 1);
      next.push(Math.min(replaced, row[j + 1] + 1, next[j] + 1));
    }
    row = next;
  }
  return row.at(-1);
}

const withoutBlanks = (name) => simplify(name).replace(/[\s_-]/g, "");

/** The class that has nearly this name, if there is one, and whether only case, accents, blanks or
 * hyphens differ. */
function similarClass(name) {
  const typed = withoutBlanks(name) || name;
  const same = classes.find((one) => (withoutBlanks(one.name) || one.name) === typed);
  if (same || typed.length < 4) return [same, true];
  const mostEdits = typed.length < 8 ? 1 : 2;
  const isNear = (one) => {
    const known = withoutBlanks(one.name);
    return !/\d/.test(typed + known) && Math.abs(known.length - typed.length) <= mostEdits
      && editDistance(typed, known) <= mostEdits;
  };
  return [classes.find(isNear), false];
}

let confirmed = "";  // a name that is near to that of a class; adding it once more adds it

function addTypedClass() {
  const name = at("new-name").value.trim().normalize("NFC");
  if (!name) return warn("Type the name of the class.");
  for (const [words, button] of [[SKIP_WORDS, "Cannot tell"], [NONE_WORDS, "None of these"]]) {
    if (words.includes(name.toLowerCase()) && !classNamed(name)) {
      return warn(`“${name}” is not the name of a class: use the button “${button}”.`);
    }
  }
  const [similar, isSame] = similarClass(name);
  if (similar && (isSame || confirmed !== name)) {
    confirmed = name;
    at("use-similar").hidden = false;
    at("use-similar").textContent = `Choose ${similar.name}`;
    at("use-similar").onclick = () => chooseTyped(similar);
    return warn(isSame
      ? `There is already the class “${similar.name}”: did you mean it?`
      : `Did you mean “${similar.name}”? If not, add “${name}” once more.`);
  }
  chooseTyped(addClass(name, true));
}

function chooseTyped(answer) {
  closeNewClass();
  chooseClass(answer);
  showClasses();
  focusImage();
}

function openNewClass() {
  at("new-form").hidden = false;
  at("new-class").setAttribute("aria-expanded", "true");
  at("new-name").value = at("typed").value;
  at("new-name").focus();
  keepInView();
}

function forgetSimilar() {
  confirmed = "";
  at("use-similar").hidden = true;
}

function closeNewClass() {
  forgetSimilar();
  at("new-form").hidden = true;
  at("new-class").setAttribute("aria-expanded", "false");
  keepInView();
}

function toggleNewClass() {
  if (at("new-form").hidden) return openNewClass();
  closeNewClass();
  at("new-class").focus();
  announce();
}

// ---- Progress, stored in the browser under a key that no other page uses.

function storeProgress() {
  const changed = [...images.keys()].filter((i) => answers[i] !== accepted[i]);
  const names = changed.map((i) => {
    const name = answers[i] === CANNOT_TELL ? null : answers[i].name;
    return [images[i].index, answers[i] === NONE_OF_THESE ? false : name];
  });
  const newClasses = classes.filter(({ isNew }) => isNew).map(({ name }) => name);
  try {
    const looked = [...lookedAt].map((i) => images[i].index);
    localStorage.setItem(key, JSON.stringify({ names, newClasses, saved, looked }));
  } catch {
    warn("This browser cannot store your progress: save labels.csv before you leave.");
  }
}

/** What storeProgress has stored, by this page or its first version; null if there is nothing. */
function readProgress() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem(key));
  } catch { /* nothing is stored, or not by this page */ }
  if (Array.isArray(stored?.names) && Array.isArray(stored.newClasses)) return stored;
  // The first version stored a class number or null for each query.
  if (!Array.isArray(stored?.answers) || stored.answers.length !== queries.length) return null;
  const names = stored.answers.map((number, i) => [queries[i].index, classNames[number]]);
  return { names, newClasses: [], saved: stored.saved };
}

function loadProgress() {
  const stored = readProgress();
  if (!stored) return;
  const isName = (name) => typeof name === "string" && name;
  const newNames = stored.newClasses.filter(isName);
  classes.filter(({ isNew, name }) => isNew && !newNames.includes(name)).forEach(removeClass);
  newNames.filter((name) => !classNamed(name)).forEach((name) => addClass(name, true));
  showClasses();
  const nameOf = new Map(stored.names.filter(Array.isArray));
  images.forEach(({ index }, i) => {
    const name = nameOf.get(index);
    const answer = name === null ? CANNOT_TELL : name === false ? NONE_OF_THESE : classNamed(name);
    answers[i] = answer ?? accepted[i];
  });
  saved = String(stored.saved ?? "");
  lookedAt.clear();
  for (const i of newImages.filter(isDoubtful)) {
    if (stored.looked?.includes?.(images[i].index)) lookedAt.add(i);
  }
}

// ---- The images.

const cards = [];  // { card, picture, answer, guessed } of each image; those of earlier cycles are
                   // made when they are first shown
const isSmall = (picture) => picture.naturalWidth <= 96;  // its pixels are shown as squares

/** Load the images of earlier cycles only once they are near the visible part of their grid. */
const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    target.src = images[target.dataset.image].image;
    observer.unobserve(target);
  }
}, { rootMargin: "400px" });

function makePicture(i) {
  const { image, path, index } = images[i];
  if (!image) return create("span", { className: "none", textContent: path || `index ${index}` });
  const picture = create("img", { alt: "" });
  picture.onload = () => picture.classList.toggle("smooth", !isSmall(picture));
  return picture;
}

function makeCard(i) {
  const { image, path } = images[i];
  const card = create("button", { type: "button", className: "card" });
  if (path) card.title = path;
  const picture = makePicture(i);
  if (image && isEarlier(i)) {
    picture.dataset.image = i;
    observer.observe(picture);
  } else if (image) picture.src = image;
  const answer = create("span", { className: "answer" });
  const guessed = create("span", { className: "guessed" });
  card.append(picture, " ", answer, " ", guessed);
  card.addEventListener("click", () => {
    if (i === current) return openZoom();
    goTo(i);
    announce();
  });
  cards[i] = { card, answer, guessed };
  if (isDoubtful(i)) at("images").append(makeComparison(i, card));
  else at(isEarlier(i) ? "earlier-images" : "images").append(card);
}

/** A doubtful image with labeled images beside it: some of its class, some of the suggested one. */
function makeComparison(i, card) {
  const { answer, suggested, examples, votes } = images[i];
  const box = create("div", { className: "comparison" });
  const rows = [answer, suggested].map((number) => {
    const row = create("div", { className: "examples" });
    const pictures = examples.filter((one) => one.answer === number).map((one) => {
      if (!one.image) return create("span", { className: "none", textContent: one.path });
      const picture = create("img", { src: one.image, alt: "" });
      picture.onload = () => picture.classList.toggle("smooth", !isSmall(picture));
      return picture;
    });
    const name = classNames[number];
    const words = pictures.length ? `Labeled ${name}:` : `No other image is labeled ${name}.`;
    row.append(create("span", { textContent: words }), ...pictures);
    return row;
  });
  const button = create("button", { type: "button", textContent: `Keep ${classNames[answer]} ` });
  button.append(create("kbd", { textContent: "=" }));
  button.setAttribute("aria-label", `Keep ${classNames[answer]}, ${describe(i)}`);
  button.addEventListener("click", () => {
    goTo(i);
    keep();
    focusImage();
  });
  const side = create("div", { className: "side" });
  const question = `Is it ${classNames[answer]}? The other labels suggest ${classNames[suggested]}.`
    + (votes ? ` Annotators disagree: ${votes}.` : "");
  side.append(create("strong", { textContent: question }), ...rows, button);
  box.append(card, side);
  return box;
}

/** The guess for an image as text; empty as long as it is hidden. */
function guessText(i) {
  const { guess, confidence } = images[i];
  if (guess === null || (answers[i] === null && !revealedGuesses.has(i))) return "";
  const mark = answers[i] === null ? "?" : answers[i] === classes[guess] ? "=" : "≠";
  return `${mark} ${classes[guess].name}, ${Math.round(100 * confidence)} %`;
}

/** Which image it is, in words. */
function describe(i) {
  if (isDoubtful(i)) return `doubtful label ${i + 1} of ${secondLooks.length}`;
  if (!isEarlier(i)) return `image ${i - secondLooks.length + 1} of ${queries.length}`;
  return `earlier image ${i - firstEarlier + 1} of ${earlier.length}`;
}

const capitalize = (text) => text[0].toUpperCase() + text.slice(1);

function showCard(i) {
  if (!cards[i]) return;
  const { card, answer, guessed } = cards[i];
  const name = answers[i]?.name ?? "";
  answer.textContent = name || "–";
  const guess = guessText(i);
  const before = isCorrected(i) ? `was ${accepted[i].name}` : "";
  const { cycle, votes } = images[i];
  const state = before
    || (lookedAt.has(i) ? "kept" : `cycle ${cycle}${votes ? `, ${votes}` : ""}`);
  guessed.textContent = accepted[i] ? state : guess;
  guessed.classList.toggle("differs", isCorrected(i) || (!accepted[i] && guess.startsWith("≠")));
  card.classList.toggle("answered", isEarlier(i) ? isCorrected(i) : !isOpen(i));
  card.setAttribute("aria-current", String(i === current));
  card.tabIndex = i === current ? 0 : -1;
  // The label contains the visible text as it is, so that it can be spoken to choose the image.
  const { image, path, index } = images[i];
  const own = image ? "" : `${path || `index ${index}`} `;
  const label =
    `${capitalize(describe(i))}, ${own}${name || "not answered"} ${guessed.textContent}`;
  const isGuess = guess && !accepted[i];
  card.setAttribute("aria-label", label.trim() + (isGuess ? " by the network" : ""));
}

function showControls() {
  const left = unanswered().length;
  const done = queries.length - left;
  const corrected = [...images.keys()].filter(isCorrected).length;
  const notClasses = [CANNOT_TELL, NONE_OF_THESE]
    .map((one) => [queried.filter((i) => answers[i] === one).length, one.name])
    .filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
  const ofThem = notClasses.length ? ` (${notClasses.join(", ")})` : "";
  const words = [`${done} of ${queries.length} answered${ofThem}`, `${left} left`];
  if (corrected) words.push(`${corrected} corrected`);
  if (doubtful().length) words.push(`${doubtful().length} to look at again`);
  at("left").textContent = words.join(", ");
  at("done").max = queries.length;
  at("done").value = done;
  at("undo").setAttribute("aria-disabled", String(!undoStack.length));
  at("guess").hidden = Boolean(accepted[current]) || images[current].guess === null;
  at("skip").hidden = isEarlier(current);
  at("restore").hidden = !isCorrected(current);
  at("restore").textContent = `Back to ${accepted[current]?.name}`;
  at("cannot-tell").setAttribute("aria-pressed", String(answers[current] === CANNOT_TELL));
  at("none").setAttribute("aria-pressed", String(answers[current] === NONE_OF_THESE));
  const used = new Set(answers);
  for (const one of classes) {
    one.button.setAttribute("aria-pressed", String(answers[current] === one));
    if (one.remove) one.remove.hidden = used.has(one);
  }
}

function showAll() {
  cards.forEach((_, i) => showCard(i));
  showControls();
}

/** After a change of the layout: the current image stays visible. */
function keepInView() {
  fitCards();
  cards[current].card.scrollIntoView({ block: "nearest" });
  if (document.activeElement !== at("new-name")) return;
  for (const id of ["status", "new-name"]) at(id).scrollIntoView({ block: "nearest" });
}

function focusImage() {
  if (at("large").open) at("close").focus();
  else cards[current].card.focus({ preventScroll: true });
}

/** Make an image the current one; the focus follows if it is in the grid. */
function goTo(to) {
  if (isEarlier(to) !== isEarlier(current)) setView(isEarlier(to));
  if (!shown.includes(to)) isEarlier(to) ? filterEarlier("all") : showPredicted("all");
  const before = current;
  current = to;
  showCard(before);
  showCard(current);
  showControls();
  const { card } = cards[current];
  if (document.activeElement?.classList.contains("card")) card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
  if (at("large").open) showLarge();
}

/** The next image without an answer, first among those in view. */
function nextUnanswered() {
  const after = [...shown.filter((i) => i > current), ...shown.filter((i) => i < current)];
  const next = after.find((i) => !isEarlier(i) && isOpen(i));
  if (next !== undefined) return next;
  for (let step = 1; step < newImages.length; step++) {
    const i = (current + step) % newImages.length;
    if (isOpen(i)) return i;
  }
  return current;
}

// ---- Earlier answers.

const FILTERS = {
  all: () => true,
  corrected: isCorrected,
  skipped: (i) => accepted[i] === CANNOT_TELL,
  aside: (i) => accepted[i] === NONE_OF_THESE,
  disputed: (i) => images[i].votes,
};
const lastIn = { false: 0, true: firstEarlier };  // by isEarlier: where the person has been

function setView(toEarlier) {
  lastIn[isEarlier(current)] = current;
  at("images").hidden = toEarlier;
  at("earlier").hidden = !toEarlier;
  at("view-queried").setAttribute("aria-pressed", String(!toEarlier));
  at("view-earlier").setAttribute("aria-pressed", String(toEarlier));
  at("predicted-choice").hidden = toEarlier || !hasGuesses;
  current = lastIn[toEarlier];
  if (!toEarlier) showPredicted("all");
  else if (cards.length === firstEarlier) {
    for (let i = firstEarlier; i < images.length; i++) makeCard(i);
  }
  if (toEarlier) filterEarlier("all");
  fitCards();
  showAll();
}

function switchView(toEarlier) {
  if (toEarlier === isEarlier(current)) return;
  setView(toEarlier);
  goTo(current);
  announce();
}

/** Show the earlier images with this accepted answer: a key of FILTERS or the number of a class. */
function filterEarlier(value) {
  const all = [...images.keys()].filter(isEarlier);
  const filterOf = (one) => FILTERS[one] ?? ((i) => accepted[i] === classes[one]);
  const names = {
    all: "All", corrected: "Corrected", skipped: "Cannot tell", aside: "None of these",
    disputed: "Annotators disagree",
  };
  const counts = [...Object.keys(FILTERS), ...classNames.keys()].map((one) =>
    [one, names[one] ?? classNames[one], all.filter(filterOf(one)).length]);
  const options = counts.filter(([one, , count]) => count || one === value);
  at("filter").replaceChildren(...options.map(([one, name, count]) =>
    create("option", { value: one, textContent: `${name} (${count})` })));
  at("filter").value = value;
  shown = all.filter(filterOf(value));
  const visible = new Set(shown);
  for (const i of all) cards[i].card.hidden = !visible.has(i);
}

// ---- Actions of the user.

function setAnswer(i, answer) {
  if (answer?.isNew && !classes.includes(answer)) {  // it has been removed since
    answer = classNamed(answer.name) ?? addClass(answer.name, true);
    showClasses();
  }
  answers[i] = answer;
  storeProgress();
  showCard(i);
}

/** Answer the current image, and go on to the next one without an answer. */
function chooseClass(answer) {
  const i = current;
  undoStack.push([i, answers[i], lookedAt.has(i)]);
  clearSearch();
  if (isDoubtful(i)) lookedAt.add(i);
  setAnswer(i, answer);
  goTo(isEarlier(i) ? i : nextUnanswered());
  if (isEarlier(i)) {
    const same = isCorrected(i) ? "" : " That is the accepted answer.";
    return tell(`${capitalize(describe(i))}: ${answer.name}.${same}`);
  }
  const kept = isDoubtful(i) && !isCorrected(i) ? "kept " : "";
  announce(`${capitalize(describe(i))}: ${kept}${answer.name}.`);
  if (!unanswered().length && !doubtful().length) {
    at("status").textContent += " All images are answered: save labels.csv.";
  }
}

const chooseCannotTell = () => chooseClass(CANNOT_TELL);
const chooseNone = () => chooseClass(NONE_OF_THESE);

/** Keep the label of the current image, which is doubtful. */
function keep() {
  if (isDoubtful(current)) chooseClass(accepted[current]);
}

function undo() {
  if (!undoStack.length) return announce("Nothing to undo.");
  const [i, before, wasLookedAt] = undoStack.pop();
  if (!wasLookedAt) lookedAt.delete(i);
  setAnswer(i, before);
  goTo(i);
  announce("Undone.");
}

function restore() {
  const i = current;
  undoStack.push([i, answers[i], lookedAt.has(i)]);
  setAnswer(i, accepted[i]);
  goTo(i);
  focusImage();  // the button is gone
  announce(`Back to ${accepted[i].name}.`);
}

function skip() {
  if (isEarlier(current)) return;
  goTo(nextUnanswered());
  announce("Left without an answer for now.");
}

function toggleGuess() {
  if (at("guess").hidden) return;
  revealedGuesses.has(current) ? revealedGuesses.delete(current) : revealedGuesses.add(current);
  showCard(current);
  const text = guessText(current);
  announce(text ? `The network's guess: ${text.slice(2)}.` : "Guess hidden.");
}

/** Show a message in the status line. */
function tell(message) {
  at("status").classList.remove("warn");
  at("status").textContent = message;
}

/** Show a message in the status line, followed by the position of the current image. */
function announce(message = "") {
  const { path } = images[current];
  tell(`${message} Now ${describe(current)}${path ? `, ${path}` : ""}.`.trim());
}

function warn(message) {
  tell(message);
  at("status").classList.add("warn");
}

// ---- One image, large. The classes move into the dialog, so that the person can answer there.

function openZoom() {
  at("large").append(document.querySelector("footer"));
  at("large").showModal();
  showLarge();
}

function showLarge() {
  const { image, path } = images[current];
  const name = answers[current]?.name;
  at("large-title").textContent =
    [capitalize(describe(current)), path, name].filter(Boolean).join(", ");
  const picture = makePicture(current);
  if (image) picture.src = image;
  at("large-picture").replaceChildren(picture);
  const position = shown.indexOf(current);
  at("previous").setAttribute("aria-disabled", String(position === 0));
  at("next").setAttribute("aria-disabled", String(position === shown.length - 1));
}

function afterZoom() {
  document.querySelector("main").after(document.querySelector("footer"));
  focusImage();
  keepInView();
}

const toggleZoom = () => { at("large").open ? at("large").close() : openZoom(); };

// ---- labels.csv.

/** A cell of a CSV file, in quotes where it needs them. */
function csvCell(text) {
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Whether a spreadsheet may take a name for a number, a date or the like, as 01 for 1. */
const mayBeChanged = (name) =>
  (!/^\p{L}\D*$/u.test(name) && !name.includes("\\")) || /^(true|false)$/i.test(name);

/** What labels.csv says for an answer. */
function answerCell(answer) {
  if (answer === CANNOT_TELL) return skipAnswer;
  if (answer === NONE_OF_THESE) return noneAnswer;
  const { name, isNew } = answer;
  const hasDoubtful = classes.some((one) => one.isNew && mayBeChanged(one.name));
  if (hasDoubtful && mayBeChanged(name)) return `="${name.replaceAll('"', '""')}"`;
  if (!isNew) return cells[classNames.indexOf(name)];
  return /^'*[=+\-@\t\r]/.test(name) ? `'${name}` : name;
}

/** The contents of labels.csv: the images that are answered, and the answers that are corrected or
 * looked at again; empty if there are none. */
function labelsCsv() {
  const isSaved = (i) => answers[i] !== accepted[i] || lookedAt.has(i);
  const lines = [...images.keys()].filter(isSaved).map((i) => {
    const mark = answers[i].isNew ? "yes" : "";
    return `${images[i].index},${csvCell(answerCell(answers[i]))},${mark}\n`;
  });
  return lines.length ? `index,label,new_class\n${lines.join("")}` : "";
}

function save() {
  const text = labelsCsv();
  if (!text) return warn("No image is answered yet.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  saved = text;
  storeProgress();
  const left = unanswered().length;
  const again = doubtful().length;
  const kept = again ? `${again} doubtful ${again === 1 ? "label stays" : "labels stay"}. ` : "";
  if (!left) {
    return tell(`Saved. ${kept}Put labels.csv into ${folder} and run the same command again.`);
  }
  warn(`Saved, but ${left} ${left === 1 ? "image has" : "images have"} no answer: the run will ` +
    "name them and wait. Choose a class, “Cannot tell” or “None of these” for each, and save " +
    "again.");
}

// ---- Keys.

const COMMANDS = {
  Backspace: undo, ".": skip, ",": chooseCannotTell, "-": chooseNone, "?": toggleGuess,
  "+": toggleZoom, "*": toggleNewClass, "=": keep,
};

/** Run the command of a key; returns whether it has one. */
function runCommand(event) {
  const action = shortcutsOn() && COMMANDS[event.key];
  if (!action) return false;
  event.preventDefault();
  action();
  return true;
}

/** Number of columns in the grid in view. */
function columnCount() {
  if (at("large").open) return 1;
  const grid = cards[current].card.parentElement;
  return getComputedStyle(grid).gridTemplateColumns.split(" ").length;
}

const MOVES = {  // from one position among those shown to another
  ArrowLeft: (position) => position - 1,
  ArrowRight: (position) => position + 1,
  ArrowUp: (position) => {
    const wide = shown.filter(isDoubtful).length;  // these come first, each in a row of its own
    return position < wide ? position - 1 : Math.max(position - columnCount(), wide - 1);
  },
  ArrowDown: (position) => position + (isDoubtful(shown[position]) ? 1 : columnCount()),
  Home: () => 0,
  End: () => shown.length - 1,
};

/** Go to another image of those shown; not past the first or last one. */
function move(direction) {
  const to = shown[MOVES[direction](shown.indexOf(current))];
  if (to !== undefined) goTo(to);
  announce();
}

/** Keys within the field that searches classes. */
function handleTypedKey(event) {
  const isEmpty = !at("typed").value;
  const [first] = matchingClasses();
  if (event.key === "Enter" && !isEmpty && !event.repeat) {
    if (first) chooseClass(first);
  } else if (event.key === "ArrowDown" && first) {
    event.preventDefault();
    first.button.focus();
  } else if (event.key === "Escape" && !isEmpty) {
    event.preventDefault();
    clearSearch();
    announce();
  } else if (isEmpty && !classes.some(({ name }) => name.startsWith(event.key))) {
    runCommand(event);
  }
}

/** Move between the buttons of the classes; returns whether the key does that. */
function handleClassKey(event) {
  const buttons = [...at("classes").querySelectorAll("button:not(.remove)")];
  const position = buttons.indexOf(event.target);
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const to = { Home: 0, End: buttons.length - 1 }[event.key] ?? position + step;
  if (position < 0 || Number.isNaN(to)) return false;
  event.preventDefault();
  if (to < 0 && !at("search").hidden) at("typed").focus();
  buttons[to]?.focus();
  return true;
}

function handleKey(event) {
  const { target } = event;
  const letter = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    const action = { s: save, z: undo }[letter];
    if (!action || event.shiftKey || (action === undo && target.value && target.type === "text")) {
      return;
    }
    event.preventDefault();
    action();
    return;
  }
  if (event.altKey || event.isComposing || target.tagName === "SELECT") return;
  if (at("map").open) return handleMapKey(event);
  if (target === at("typed")) return handleTypedKey(event);
  if (at("new-form").contains(target)) {
    if (event.key !== "Escape") return;
    event.preventDefault();
    return toggleNewClass();
  }
  if (at("classes").contains(target) && handleClassKey(event)) return;
  const isAmongImages = document.activeElement === document.body || target.closest("main, dialog");
  if (MOVES[event.key] && isAmongImages) {
    event.preventDefault();
    if (!at("large").open) cards[current].card.focus({ preventScroll: true });
    move(event.key);
  } else if (!event.repeat && shortcutsOn() && !runCommand(event)) {
    if (scheme === "typed" && /^[\p{L}\p{N}]$/u.test(event.key)) return at("typed").focus();
    const chosen = classes.find((one) => one.key === letter);
    if (chosen) chooseClass(chosen);
  }
}

// ---- Size of the images, in pixels: the largest at which all are visible, within bounds.

const GAP = 8;           // between two cards
const PADDING = 20;      // of the grid, on both sides together
const TEXT_HEIGHT = 54;  // of a card, below the image
const [MIN_SIZE, MAX_SIZE] = [112, 300];

function fitCards() {
  const grid = at(isEarlier(current) ? "earlier-images" : "images");
  const height = Math.min(grid.clientHeight, innerHeight);
  let best = 0;
  let smallest = MAX_SIZE;  // with as many columns as possible; the images scroll then
  const wide = shown.filter(isDoubtful).length;  // each has a row of its own
  for (let columns = 1; columns <= shown.length; columns++) {
    const width = Math.floor((grid.clientWidth - PADDING - GAP * (columns - 1)) / columns);
    if (width < MIN_SIZE) break;
    const rows = wide + Math.ceil((shown.length - wide) / columns);
    const cardHeight = Math.floor((height - PADDING) / rows - TEXT_HEIGHT - GAP);
    best = Math.max(best, Math.min(width, cardHeight));
    smallest = width;
  }
  best = Math.min(best < MIN_SIZE ? smallest : best, MAX_SIZE);
  grid.style.setProperty("--card-size", `${best}px`);
}

// ---- Start.

function listenToControls() {
  const actions = {
    undo, skip, guess: toggleGuess, zoom: openZoom, save, restore, close: toggleZoom,
    "cannot-tell": chooseCannotTell, none: chooseNone, "new-class": toggleNewClass, "cancel-new": toggleNewClass,
    previous: () => move("ArrowLeft"), next: () => move("ArrowRight"),
    "view-queried": () => switchView(false), "view-earlier": () => switchView(true),
  };
  for (const [id, action] of Object.entries(actions)) at(id).addEventListener("click", action);
  at("typed").addEventListener("input", filterClasses);
  at("new-name").addEventListener("input", forgetSimilar);
  at("new-form").addEventListener("submit", (event) => {
    event.preventDefault();
    addTypedClass();
  });
  at("filter").addEventListener("change", () => {
    filterEarlier(at("filter").value);
    fitCards();
    if (!shown.includes(current)) goTo(shown[0]);
    announce();
  });
  at("large").addEventListener("close", afterZoom);
  at("keys").addEventListener("change", () => {
    document.body.classList.toggle("without-keys", !shortcutsOn());
  });
}

function listenToWindow() {
  document.addEventListener("keydown", handleKey);
  window.addEventListener("resize", keepInView);
  window.addEventListener("beforeunload", (event) => {
    if (labelsCsv() !== saved) event.preventDefault();
  });
  window.addEventListener("storage", (event) => {  // the same page is open in another window
    if (event.key !== key) return;
    loadProgress();
    showAll();
  });
}

classNames.forEach((name) => addClass(name, false));
showClasses();
images.forEach(({ answer = null }, i) => {
  const noClass = { "-1": CANNOT_TELL, "-2": NONE_OF_THESE }[answer];
  accepted[i] = answer === null ? null : noClass ?? classes[answer];
  answers[i] = accepted[i];
});
loadProgress();
current = newImages.find(isOpen) ?? 0;
newImages.forEach(makeCard);
showAll();
at("about").hidden = !notes.length;
at("notes").replaceChildren(...notes.map((textContent) => create("li", { textContent })));
at("about").addEventListener("toggle", keepInView);
at("search").hidden = scheme !== "typed";
at("views").hidden = !earlier.length;
at("view-queried").textContent += ` (${queries.length})`;
at("view-earlier").textContent += ` (${earlier.length})`;
listenToControls();
listenToWindow();
fitCards();
goTo(current);
announce();
