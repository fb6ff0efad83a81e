"use strict";
// The queries of queries.csv as a grid of images. A key or a click chooses the class of the current
// image. `answers` holds a class number or null for each image, in the order of the table.

const { key, folder, classes, queries } =
  JSON.parse(document.getElementById("queries").textContent);
const at = (id) => document.getElementById(id);
const answers = queries.map(() => null);
const revealedGuesses = new Set();  // images whose guess was requested before an answer
const undoStack = [];               // [image, its previous answer], the latest last
let current = 0;
let saved = "";                     // contents of labels.csv when it was last saved

// ---- Which key chooses which class: [scheme, keys by class number].

function assignKeys() {
  const lowercase = classes.map((name) => name.toLowerCase());
  const isSingle = lowercase.every((name) => /^[a-z0-9]$/.test(name));
  if (isSingle && new Set(lowercase).size === lowercase.length) return ["own", lowercase];
  if (classes.length <= 10) return ["digits", [..."1234567890"].slice(0, classes.length)];
  if (classes.length > 36) return ["typed", []];
  const free = new Set("abcdefghijklmnopqrstuvwxyz1234567890");
  const keys = lowercase.map((name) => {  // the first free letter of the name, if there is one
    const letter = [...name.normalize("NFD")].find((character) => free.has(character));
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

// ---- Progress, stored in the browser under a key that no other page uses.

function storeProgress() {
  try {
    localStorage.setItem(key, JSON.stringify({ answers, saved }));
  } catch {
    warn("This browser cannot store your progress: save labels.csv before you leave.");
  }
}

function loadProgress() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem(key));
  } catch { /* nothing is stored, or not by this page */ }
  const isValid = (answer) =>
    answer === null || (Number.isInteger(answer) && answer >= 0 && answer < classes.length);
  if (!Array.isArray(stored?.answers) || stored.answers.length !== answers.length) return;
  stored.answers.forEach((answer, i) => { answers[i] = isValid(answer) ? answer : null; });
  saved = String(stored.saved ?? "");
}

// ---- The images.

const cards = queries.map((query, i) => {
  const card = document.createElement("button");
  card.type = "button";
  card.className = "card";
  card.title = query.path;
  let picture;
  if (query.image) {
    picture = document.createElement("img");
    picture.alt = "";
    picture.onload = () => card.classList.toggle("smooth", picture.naturalWidth > 96);
    picture.src = query.image;
  } else {
    picture = document.createElement("span");
    picture.className = "none";
    picture.textContent = query.path || `no image, index ${query.index}`;
  }
  const [answer, guessed] = ["answer", "guessed"].map((name) => {
    const span = document.createElement("span");
    span.className = name;
    return span;
  });
  card.append(picture, answer, guessed);
  card.addEventListener("click", () => { goTo(i); announce(); });
  at("images").append(card);
  return { card, answer, guessed };
});

/** The guess for an image as text; empty as long as it is hidden. */
function guessText(i) {
  const { guess, confidence } = queries[i];
  if (guess === null || (answers[i] === null && !revealedGuesses.has(i))) return "";
  const mark = answers[i] === null ? "?" : answers[i] === guess ? "=" : "≠";
  return `${mark} ${classes[guess]}, ${Math.round(100 * confidence)} %`;
}

function showCard(i) {
  const { card, answer, guessed } = cards[i];
  const name = answers[i] === null ? "" : classes[answers[i]];
  answer.textContent = name || "–";
  guessed.textContent = guessText(i);
  guessed.classList.toggle("differs", guessed.textContent.startsWith("≠"));
  card.classList.toggle("answered", answers[i] !== null);
  card.setAttribute("aria-current", String(i === current));
  card.tabIndex = i === current ? 0 : -1;
  const guess = guessed.textContent && `guess ${guessed.textContent.slice(2)}`;
  const label = [`Image ${i + 1} of ${cards.length}`, name || "not answered", guess];
  card.setAttribute("aria-label", label.filter(Boolean).join(", "));
}

function showControls() {
  const left = answers.filter((answer) => answer === null).length;
  const done = answers.length - left;
  at("left").textContent = `${done} of ${answers.length} answered, ${left} left`;
  at("done").max = answers.length;
  at("done").value = done;
  at("undo").setAttribute("aria-disabled", String(!undoStack.length));
  at("guess").hidden = queries[current].guess === null;
  for (const [number, button] of buttons.entries()) {
    button.setAttribute("aria-pressed", String(answers[current] === number));
  }
}

/** Make an image the current one; the focus follows unless it is outside the grid. */
function goTo(to) {
  const before = current;
  current = Math.max(0, Math.min(cards.length - 1, to));
  showCard(before);
  showCard(current);
  showControls();
  const { card } = cards[current];
  const focused = document.activeElement;
  if (focused?.classList.contains("card")) card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

function nextUnanswered() {
  for (let step = 1; step < cards.length; step++) {
    const i = (current + step) % cards.length;
    if (answers[i] === null) return i;
  }
  return current;
}

// ---- Actions of the user.

function setAnswer(i, answer) {
  answers[i] = answer;
  storeProgress();
  showCard(i);
}

function chooseClass(number) {
  const i = current;
  undoStack.push([i, answers[i]]);
  setAnswer(i, number);
  goTo(nextUnanswered());
  announce(`Image ${i + 1}: ${classes[number]}.`);
  if (!answers.includes(null)) {
    at("status").textContent += " All images are answered: save labels.csv.";
  }
}

function undo() {
  if (!undoStack.length) return announce("Nothing to undo.");
  const [i, before] = undoStack.pop();
  setAnswer(i, before);
  goTo(i);
  announce("Undone.");
}

function skip() {
  goTo(nextUnanswered());
  announce("Skipped.");
}

function toggleGuess() {
  if (queries[current].guess === null) return;
  revealedGuesses.has(current) ? revealedGuesses.delete(current) : revealedGuesses.add(current);
  showCard(current);
  const text = guessText(current);
  announce(text ? `The network's guess: ${text.slice(2)}.` : "Guess hidden.");
}

/** Show a message in the status line, followed by the position of the current image. */
function announce(message = "") {
  const { path } = queries[current];
  const position = `Now image ${current + 1} of ${cards.length}${path ? `, ${path}` : ""}.`;
  at("status").classList.remove("warn");
  at("status").textContent = `${message} ${position}`.trim();
}

function warn(message) {
  at("status").classList.add("warn");
  at("status").textContent = message;
}

// ---- labels.csv.

function csvCell(text) {
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The contents of labels.csv: the images that are answered; empty if there are none. */
function labelsCsv() {
  const rows = queries.map(({ index }, i) => [index, answers[i]]);
  const lines = rows.filter(([, answer]) => answer !== null)
    .map(([index, answer]) => `${index},${csvCell(classes[answer])}\n`);
  return lines.length ? `index,label\n${lines.join("")}` : "";
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
  const left = answers.filter((answer) => answer === null).length;
  if (left) return warn(`Saved, but ${left} images have no answer yet: the run needs all of them.`);
  at("status").classList.remove("warn");
  at("status").textContent =
    `Saved. Put labels.csv into ${folder} and run the same command again.`;
}

// ---- Classes: a button and a key for each; if there are many, their names are typed.

const buttons = classes.map((name, number) => {
  const button = document.createElement("button");
  button.type = "button";
  if (classKeys[number] && scheme !== "own") {
    const hint = document.createElement("kbd");
    hint.textContent = classKeys[number];
    hint.setAttribute("aria-hidden", "true");
    button.append(hint);
  }
  if (classKeys[number]) button.setAttribute("aria-keyshortcuts", classKeys[number]);
  button.append(name);
  button.addEventListener("click", () => chooseClass(number));
  at("classes").append(button);
  return button;
});

/** The classes whose names begin with the typed text; if there are none, those that contain it. */
function matchingClasses() {
  const normalize = (text) => text.trim().toLowerCase();
  const typed = normalize(at("typed").value);
  const all = [...classes.keys()];
  const matches = all.filter((number) => normalize(classes[number]).startsWith(typed));
  if (matches.length) return matches;
  return all.filter((number) => normalize(classes[number]).includes(typed));
}

function filterClasses() {
  const matches = matchingClasses();
  buttons.forEach((button, number) => { button.hidden = !matches.includes(number); });
  if (at("typed").value) {
    const others = matches.length > 1 ? ` (${matches.length} classes match)` : "";
    at("status").textContent = matches.length
      ? `Enter chooses ${classes[matches[0]]}${others}.`
      : "No class matches.";
  }
}

function handleTypedKey(event) {
  const isEmpty = !at("typed").value;
  if (event.key === "Enter" && !isEmpty && !event.repeat) {
    const [first] = matchingClasses();
    if (first === undefined) return;
    at("typed").value = "";
    filterClasses();
    chooseClass(first);
  } else if (event.key === "Escape") {
    at("typed").value = "";
    filterClasses();
    announce();
  } else if (isEmpty) {
    runCommand(event);
  }
}

// ---- Keys.

const COMMANDS = { Backspace: undo, ".": skip, "?": toggleGuess };

/** Run the command of a key; returns whether it has one. */
function runCommand(event) {
  const action = shortcutsOn() && COMMANDS[event.key];
  if (!action) return false;
  event.preventDefault();
  action();
  return true;
}

/** Number of columns in the current layout of the grid. */
const columnCount = () => getComputedStyle(at("images")).gridTemplateColumns.split(" ").length;
const MOVES = {
  ArrowLeft: () => current - 1,
  ArrowRight: () => current + 1,
  ArrowUp: () => current - columnCount(),
  ArrowDown: () => current + columnCount(),
  Home: () => 0,
  End: () => cards.length - 1,
};

function handleKey(event) {
  const letter = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    const action = { s: save, z: undo }[letter];
    if (!action || event.shiftKey || (action === undo && at("typed").value)) return;
    event.preventDefault();
    action();
    return;
  }
  if (event.altKey) return;
  if (event.target === at("typed")) return handleTypedKey(event);
  const isInGrid = document.activeElement === document.body || event.target.closest("main");
  if (MOVES[event.key] && isInGrid) {
    event.preventDefault();
    const to = MOVES[event.key]();
    cards[current].card.focus({ preventScroll: true });
    if (to >= 0 && to < cards.length) goTo(to);
    announce();
  } else if (!event.repeat && shortcutsOn() && !runCommand(event)) {
    if (scheme === "typed" && /^[\p{L}\p{N}]$/u.test(event.key)) return at("typed").focus();
    const number = classKeys.indexOf(letter);
    if (number >= 0) chooseClass(number);
  }
}

// ---- Size of the images, in pixels: the largest at which all are visible, within bounds.

const GAP = 8;           // between two cards
const PADDING = 20;      // of the grid, on both sides together
const TEXT_HEIGHT = 54;  // of a card, below the image
const [MIN_SIZE, MAX_SIZE] = [112, 300];

function fitCards() {
  const { clientWidth } = at("images");
  const height = Math.min(at("images").clientHeight, innerHeight);
  let best = 0;
  let smallest = MAX_SIZE;  // with as many columns as possible; the images scroll then
  for (let columns = 1; columns <= cards.length; columns++) {
    const width = Math.floor((clientWidth - PADDING - GAP * (columns - 1)) / columns);
    if (width < MIN_SIZE) break;
    const rows = Math.ceil(cards.length / columns);
    const cardHeight = Math.floor((height - PADDING) / rows - TEXT_HEIGHT - GAP);
    best = Math.max(best, Math.min(width, cardHeight));
    smallest = width;
  }
  best = Math.min(best < MIN_SIZE ? smallest : best, MAX_SIZE);
  at("images").style.setProperty("--card-size", `${best}px`);
}

// ---- Start.

loadProgress();
current = Math.max(0, answers.indexOf(null));
cards.forEach((_, i) => showCard(i));
showControls();
at("search").hidden = scheme !== "typed";
at("undo").addEventListener("click", undo);
at("skip").addEventListener("click", skip);
at("guess").addEventListener("click", toggleGuess);
at("save").addEventListener("click", save);
at("typed").addEventListener("input", filterClasses);
at("keys").addEventListener("change", () => {
  document.body.classList.toggle("without-keys", !shortcutsOn());
});
document.addEventListener("keydown", handleKey);
window.addEventListener("resize", fitCards);
window.addEventListener("beforeunload", (event) => {
  if (labelsCsv() !== saved) event.preventDefault();
});
window.addEventListener("storage", (event) => {  // the same page is open in another window
  if (event.key !== key) return;
  loadProgress();
  cards.forEach((_, i) => showCard(i));
  showControls();
});
fitCards();
goTo(current);
announce();
