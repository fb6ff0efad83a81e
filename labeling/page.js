"use strict";
// Questions of queries.csv as a grid of images: one of them is the current one, which a key or a
// click gives its class.  `answers` holds a class number or null an image, in the table's order.

const { key, folder, classes, queries } =
  JSON.parse(document.getElementById("questions").textContent);
const at = (id) => document.getElementById(id);
const answers = queries.map(() => null);
const shown = new Set();      // images whose guess was asked for before an answer
const undone = [];            // [image, its answer before], the last one last
let current = 0;
let saved = "";               // what labels.csv held when it was saved last

// ---- Which key is which class: [kind, class number -> key].

function keysOfClasses() {
  const small = classes.map((name) => name.toLowerCase());
  const single = small.every((name) => /^[a-z0-9]$/.test(name));
  if (single && new Set(small).size === small.length) return ["own", small];
  if (classes.length <= 10) return ["digits", [..."1234567890"].slice(0, classes.length)];
  if (classes.length > 36) return ["typed", []];
  const free = new Set("abcdefghijklmnopqrstuvwxyz1234567890");
  const given = small.map((name) => {  // the first letter of the name that is free, if there is one
    const letter = [...name.normalize("NFD")].find((one) => free.has(one));
    free.delete(letter);
    return letter;
  });
  for (const [i, letter] of given.entries()) {
    if (letter) continue;
    given[i] = [...free][0];
    free.delete(given[i]);
  }
  return ["letters", given];
}

const [scheme, keyOf] = keysOfClasses();
const keysAnswer = () => at("keys").checked;

// ---- What is kept in the browser, under a name that no other page has.

function keep() {
  try {
    localStorage.setItem(key, JSON.stringify({ answers, saved }));
  } catch {
    warn("This browser keeps no progress: save labels.csv before you leave.");
  }
}

function recall() {
  let found = null;
  try {
    found = JSON.parse(localStorage.getItem(key));
  } catch { /* nothing there, or nothing that we wrote */ }
  const valid = (one) => one === null || (Number.isInteger(one) && one >= 0 && one < classes.length);
  if (!Array.isArray(found?.answers) || found.answers.length !== answers.length) return;
  found.answers.forEach((one, i) => { answers[i] = valid(one) ? one : null; });
  saved = String(found.saved ?? "");
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
  card.addEventListener("click", () => { go(i); tell(); });
  at("images").append(card);
  return { card, answer, guessed };
});

function guessOf(i) {
  const { guess, confidence } = queries[i];
  if (guess === null || (answers[i] === null && !shown.has(i))) return "";
  const mark = answers[i] === null ? "?" : answers[i] === guess ? "=" : "≠";
  return `${mark} ${classes[guess]}, ${Math.round(100 * confidence)} %`;
}

function showCard(i) {
  const { card, answer, guessed } = cards[i];
  const name = answers[i] === null ? "" : classes[answers[i]];
  answer.textContent = name || "–";
  guessed.textContent = guessOf(i);
  guessed.classList.toggle("apart", guessed.textContent.startsWith("≠"));
  card.classList.toggle("answered", answers[i] !== null);
  card.setAttribute("aria-current", String(i === current));
  card.tabIndex = i === current ? 0 : -1;
  const guess = guessed.textContent && `guess ${guessed.textContent.slice(2)}`;
  const words = [`Image ${i + 1} of ${cards.length}`, name || "not answered", guess];
  card.setAttribute("aria-label", words.filter(Boolean).join(", "));
}

function showRest() {
  const left = answers.filter((one) => one === null).length;
  const done = answers.length - left;
  at("left").textContent = `${done} of ${answers.length} answered, ${left} left`;
  at("done").max = answers.length;
  at("done").value = done;
  at("undo").setAttribute("aria-disabled", String(!undone.length));
  at("guess").hidden = queries[current].guess === null;
  for (const [number, button] of buttons.entries()) {
    button.setAttribute("aria-pressed", String(answers[current] === number));
  }
}

/** Make an image the current one; the focus follows unless it is needed elsewhere. */
function go(to) {
  const before = current;
  current = Math.max(0, Math.min(cards.length - 1, to));
  showCard(before);
  showCard(current);
  showRest();
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

// ---- What a person does.

function set(i, answer) {
  answers[i] = answer;
  keep();
  showCard(i);
}

function choose(number) {
  const i = current;
  undone.push([i, answers[i]]);
  set(i, number);
  go(nextUnanswered());
  const left = answers.includes(null);
  tell(`Image ${i + 1}: ${classes[number]}.`);
  if (!left) at("status").textContent += " All are answered: save labels.csv.";
}

function undo() {
  if (!undone.length) return tell("Nothing to undo.");
  const [i, before] = undone.pop();
  set(i, before);
  go(i);
  tell("Undone.");
}

function skip() {
  go(nextUnanswered());
  tell("Skipped.");
}

function guess() {
  if (queries[current].guess === null) return;
  shown.has(current) ? shown.delete(current) : shown.add(current);
  showCard(current);
  const words = guessOf(current);
  tell(words ? `The network's guess: ${words.slice(2)}.` : "Guess hidden.");
}

function tell(words = "") {
  const { path } = queries[current];
  const here = `Now image ${current + 1} of ${cards.length}${path ? `, ${path}` : ""}.`;
  at("status").classList.remove("warn");
  at("status").textContent = `${words} ${here}`.trim();
}

function warn(words) {
  at("status").classList.add("warn");
  at("status").textContent = words;
}

// ---- labels.csv.

function cell(text) {
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function labelsFile() {
  const rows = queries.map(({ index }, i) => [index, answers[i]]);
  const lines = rows.filter(([, answer]) => answer !== null)
    .map(([index, answer]) => `${index},${cell(classes[answer])}\n`);
  return lines.length ? `index,label\n${lines.join("")}` : "";
}

function save() {
  const text = labelsFile();
  if (!text) return warn("Nothing is answered yet.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  saved = text;
  keep();
  const left = answers.filter((one) => one === null).length;
  if (left) return warn(`Saved, but ${left} images have no answer yet: the run waits for all.`);
  at("status").classList.remove("warn");
  at("status").textContent =
    `Saved. Put labels.csv into ${folder} and give the same command again.`;
}

// ---- Classes: a button each, and a key; or their names typed.

const buttons = classes.map((name, number) => {
  const button = document.createElement("button");
  button.type = "button";
  if (keyOf[number] && scheme !== "own") {
    const hint = document.createElement("kbd");
    hint.textContent = keyOf[number];
    hint.setAttribute("aria-hidden", "true");
    button.append(hint);
  }
  if (keyOf[number]) button.setAttribute("aria-keyshortcuts", keyOf[number]);
  button.append(name);
  button.addEventListener("click", () => choose(number));
  at("classes").append(button);
  return button;
});

/** The classes whose name begins with what is typed; where none does, those that contain it. */
function narrowed() {
  const plain = (text) => text.trim().toLowerCase();
  const typed = plain(at("typed").value);
  const all = [...classes.keys()];
  const begin = all.filter((number) => plain(classes[number]).startsWith(typed));
  return begin.length ? begin : all.filter((number) => plain(classes[number]).includes(typed));
}

function narrow() {
  const left = narrowed();
  buttons.forEach((button, number) => { button.hidden = !left.includes(number); });
  if (at("typed").value) {
    at("status").textContent = left.length
      ? `Enter: ${classes[left[0]]}${left.length > 1 ? `, of ${left.length} classes` : ""}.`
      : "No class is called so.";
  }
}

function typedKey(event) {
  const empty = !at("typed").value;
  if (event.key === "Enter" && !empty && !event.repeat) {
    const [first] = narrowed();
    if (first === undefined) return;
    at("typed").value = "";
    narrow();
    choose(first);
  } else if (event.key === "Escape") {
    at("typed").value = "";
    narrow();
    tell();
  } else if (empty) {
    command(event);
  }
}

// ---- Keys.

const COMMANDS = { Backspace: undo, ".": skip, "?": guess };

function command(event) {
  const act = keysAnswer() && COMMANDS[event.key];
  if (!act) return false;
  event.preventDefault();
  act();
  return true;
}

/** Columns of the grid as it is laid out now. */
const columns = () => getComputedStyle(at("images")).gridTemplateColumns.split(" ").length;
const MOVES = {
  ArrowLeft: () => current - 1,
  ArrowRight: () => current + 1,
  ArrowUp: () => current - columns(),
  ArrowDown: () => current + columns(),
  Home: () => 0,
  End: () => cards.length - 1,
};

function pressed(event) {
  const letter = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    const act = { s: save, z: undo }[letter];
    if (!act || event.shiftKey || (act === undo && at("typed").value)) return;
    event.preventDefault();
    act();
    return;
  }
  if (event.altKey) return;
  if (event.target === at("typed")) return typedKey(event);
  const within = document.activeElement === document.body || event.target.closest("main");
  if (MOVES[event.key] && within) {
    event.preventDefault();
    const to = MOVES[event.key]();
    cards[current].card.focus({ preventScroll: true });
    if (to >= 0 && to < cards.length) go(to);
    tell();
  } else if (!event.repeat && keysAnswer() && !command(event)) {
    if (scheme === "typed" && /^[\p{L}\p{N}]$/u.test(event.key)) return at("typed").focus();
    const number = keyOf.indexOf(letter);
    if (number >= 0) choose(number);
  }
}

// ---- As large as fits: the size of an image at which all are seen at once, within bounds.

const [GAP, TEXT, SMALLEST, LARGEST] = [8, 54, 112, 300];

function fit() {
  const { clientWidth } = at("images");
  const height = Math.min(at("images").clientHeight, innerHeight);
  let best = 0;
  let least = LARGEST;  // the most columns that there can be, then the images scroll
  for (let columns = 1; columns <= cards.length; columns++) {
    const wide = Math.floor((clientWidth - 20 - GAP * (columns - 1)) / columns);
    if (wide < SMALLEST) break;
    const rows = Math.ceil(cards.length / columns);
    const high = Math.floor((height - 20) / rows - TEXT - GAP);
    best = Math.max(best, Math.min(wide, high));
    least = wide;
  }
  best = Math.min(best < SMALLEST ? least : best, LARGEST);
  at("images").style.setProperty("--card-size", `${best}px`);
}

// ---- Begin.

recall();
current = Math.max(0, answers.indexOf(null));
cards.forEach((_, i) => showCard(i));
showRest();
at("search").hidden = scheme !== "typed";
at("undo").addEventListener("click", undo);
at("skip").addEventListener("click", skip);
at("guess").addEventListener("click", guess);
at("save").addEventListener("click", save);
at("typed").addEventListener("input", narrow);
at("keys").addEventListener("change", () => {
  document.body.classList.toggle("without-keys", !keysAnswer());
});
document.addEventListener("keydown", pressed);
window.addEventListener("resize", fit);
window.addEventListener("beforeunload", (event) => {
  if (labelsFile() !== saved) event.preventDefault();
});
window.addEventListener("storage", (event) => {  // the same page in another window
  if (event.key !== key) return;
  recall();
  cards.forEach((_, i) => showCard(i));
  showRest();
});
fit();
go(current);
tell();
