"use strict";

// The curves that are drawn.
const switches = document.getElementById("switches");
const boxes = [...switches.elements].filter((box) => box.name === "method");
const spread = document.getElementById("spread");
const estimates = document.getElementById("estimates"); // null without estimates

function drawCurves() {
  for (const box of boxes) {
    for (const curve of document.querySelectorAll(`[data-method="${box.value}"]`)) {
      curve.classList.toggle("off", !box.checked);
    }
  }
  for (const band of document.querySelectorAll(".band")) {
    band.classList.toggle("off", !spread.checked);
  }
  for (const outline of document.querySelectorAll(".estimate")) {
    outline.classList.toggle("off", !estimates.checked);
  }
}

function checkAll(checked) {
  for (const box of boxes) {
    box.checked = checked;
  }
  drawCurves();
}

switches.addEventListener("change", drawCurves);
document.getElementById("all").addEventListener("click", () => checkAll(true));
document.getElementById("none").addEventListener("click", () => checkAll(false));

// The runs that are listed: those whose summary contains all the words.
const words = document.getElementById("words");
const runs = [...document.querySelectorAll(".run")];
const texts = runs.map((run) => run.querySelector("summary").textContent.toLowerCase());

function listRuns() {
  const searched = words.value.toLowerCase().split(/\s+/);
  runs.forEach((run, i) => {
    run.hidden = !searched.every((word) => texts[i].includes(word));
  });
  const shown = runs.filter((run) => !run.hidden).length;
  document.getElementById("shown").textContent = `${shown} of ${runs.length} shown`;
}

function openRuns(open) {
  for (const run of runs) {
    run.open = open && !run.hidden;
  }
}

words.addEventListener("input", listRuns);
document.getElementById("find").addEventListener("submit", (event) => event.preventDefault());
switches.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("open").addEventListener("click", () => openRuns(true));
document.getElementById("close").addEventListener("click", () => openRuns(false));

drawCurves(); // a browser may have restored the check boxes of an earlier visit
listRuns();
