"use strict";
// The page is whole without this: it sorts and filters tables, tells values, isolates and zooms.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function makeButton(text, whenClicked) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...(typeof text === "string" ? [text] : text));
  button.addEventListener("click", whenClicked);
  return button;
}

// Headings sort their table.
for (const table of all("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.replaceChildren(makeButton(head.textContent, () => sortBy(table, heads, column)));
  });
}

function sortBy(table, heads, column) {
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row.cells[column], row]);
  const numeric = rows.some(([cell]) => "value" in cell.dataset);
  rows.sort(([a], [b]) => {
    if (!numeric) {
      return compareTexts(a.textContent.trim(), b.textContent.trim()) * (descending ? -1 : 1);
    }
    const known = ("value" in b.dataset) - ("value" in a.dataset);
    if (known) return known; // cells without a number go last, whichever way
    return (Number(a.dataset.value) - Number(b.dataset.value) || 0) * (descending ? -1 : 1);
  });
  body.append(...rows.map(([, row]) => row));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function compareTexts(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

// A text box filters the table below it: a row stays where it has every word.
for (const place of all("[data-filters]")) {
  const rows = [...document.getElementById(place.dataset.filters).querySelector("tbody").rows];
  const label = document.createElement("label");
  const box = document.createElement("input");
  const count = document.createElement("output");
  box.type = "search";
  label.append("Filter ", box);
  place.append(label, " ", count);
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent.trim()).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  });
}

// An entry of a legend shows its arm alone, in every figure and table; again: all of them.
let alone = "";
for (const entry of all(".legend [data-arm]")) {
  const button = makeButton([...entry.childNodes], () => isolate(entry.dataset.arm));
  button.setAttribute("aria-pressed", "false");
  entry.append(button);
}

function isolate(arm) {
  alone = alone === arm ? "" : arm;
  for (const one of all("[data-arm]")) {
    one.classList.toggle("faded", alone !== "" && one.dataset.arm !== alone);
    one.querySelector(":scope > button")?.setAttribute("aria-pressed", one.dataset.arm === alone);
  }
}

// What is pointed at stands out wherever it is drawn or written.
function light(event) {
  const arm = event.target.closest?.("[data-arm]")?.dataset.arm;
  for (const one of all(".lit")) one.classList.remove("lit");
  if (arm) for (const one of all(`[data-arm="${arm}"]`)) one.classList.add("lit");
}
addEventListener("pointerover", light);
addEventListener("focusin", light);

// A mark of the forest plot tells its values when it is pointed at or has the focus.
for (const plot of all(".forest svg.plot")) {
  const readout = plot.closest("figure").querySelector(".readout");
  plot.setAttribute("role", "group");
  for (const mark of all(".mark", plot)) {
    const title = mark.querySelector("title");
    const text = title.textContent;
    title.remove(); // the line below the plot says it
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", text);
    mark.setAttribute("tabindex", "0");
    for (const kind of ["pointerenter", "focus", "click"]) {
      mark.addEventListener(kind, () => { readout.textContent = text; });
    }
  }
}

// Curves: the values at an epoch below the pointer or chosen by arrows, and a zoom over epochs.
for (const panel of all(".curve")) {
  const plot = panel.querySelector(".plot");
  const cursor = panel.querySelector(".cursor");
  const span = panel.querySelector(".span");
  const readout = panel.closest("figure").querySelector(".readout");
  const whole = numbers(plot.getAttribute("viewBox"));
  const lines = all("polyline", plot).map((line) => ({
    name: line.dataset.name,
    mark: line.parentElement,
    points: line.getAttribute("points").split(" ").map(numbers),
  }));
  const epochs = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))];
  epochs.sort((a, b) => a - b);
  const area = ["x", "y", "width", "height"].map((name) => Number(plot.getAttribute(name)));
  let view = whole;
  let at = -1;
  let start = null;

  const across = (x) => area[0] + (area[2] * (x - view[0])) / view[2];
  const inside = () => epochs.filter((x) => x >= view[0] && x <= view[0] + view[2]);

  function epochAt(event) {
    const box = panel.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * panel.viewBox.baseVal.width;
    return view[0] + (view[2] * (x - area[0])) / area[2];
  }

  function tell(epoch) {
    const known = inside();
    if (!known.length) return;
    at = known.reduce((a, b) => (Math.abs(b - epoch) < Math.abs(a - epoch) ? b : a));
    cursor.setAttribute("x1", across(at));
    cursor.setAttribute("x2", across(at));
    const values = lines
      .filter((line) => !line.mark.classList.contains("faded"))
      .map((line) => [line.name, line.points.find(([x]) => x === at)])
      .filter(([, point]) => point)
      .map(([name, [, y]]) => `${name} ${Number((-y).toPrecision(4))}`);
    readout.textContent = `${panel.dataset.title}, epoch ${at}: ${values.join(", ")}`;
  }

  function zoom(from, to) {
    const low = Math.max(from, whole[0]);
    const high = Math.min(to, whole[0] + whole[2]);
    const ys = lines.filter((line) => !line.mark.classList.contains("faded"))
      .flatMap((line) => line.points.filter(([x]) => x >= low && x <= high).map(([, y]) => y));
    if (!ys.length || high <= low) return;
    const all = low === whole[0] && high === whole[0] + whole[2];
    const room = 0.08 * (Math.max(...ys) - Math.min(...ys)) || 0.5;
    view = all ? whole
      : [low, Math.min(...ys) - room, high - low, Math.max(...ys) - Math.min(...ys) + 2 * room];
    plot.setAttribute("viewBox", view.join(" "));
    drawTicks(panel, view, area);
    tell(at < 0 ? low : at);
  }

  panel.addEventListener("pointermove", (event) => {
    tell(epochAt(event));
    if (start === null) return;
    const [a, b] = [start, epochAt(event)].sort((one, other) => one - other).map(across);
    span.setAttribute("x", Math.max(a, area[0]));
    span.setAttribute("width", Math.max(Math.min(b, area[0] + area[2]) - Math.max(a, area[0]), 0));
  });
  panel.addEventListener("pointerdown", (event) => {
    tell(epochAt(event));
    if (event.pointerType === "mouse") start = epochAt(event); // a finger scrolls the page
  });
  addEventListener("pointerup", (event) => {
    if (start === null) return;
    const [a, b] = [start, epochAt(event)].sort((one, other) => one - other);
    start = null;
    span.setAttribute("width", 0);
    if (b - a > view[2] / 40) zoom(a, b);
  });
  panel.addEventListener("dblclick", () => zoom(whole[0], whole[0] + whole[2]));
  panel.addEventListener("keydown", (event) => {
    const known = inside();
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const wider = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    const middle = at < 0 ? view[0] + view[2] / 2 : at;
    if (step) tell(known[known.indexOf(at) + step] ?? at);
    else if (wider) zoom(middle - (view[2] * wider) / 2, middle + (view[2] * wider) / 2);
    else if (event.key === "Escape") zoom(whole[0], whole[0] + whole[2]);
    else return;
    event.preventDefault();
  });
}

function numbers(text) {
  return text.split(/[ ,]/).map(Number);
}

function drawTicks(panel, [left, top, width, height], [x, y, across, down]) {
  const ticks = panel.querySelector(".ticks");
  const texts = [
    ...niceNumbers(left, left + width, 1).map((value) =>
      [value, x + (across * (value - left)) / width, y + down + 12, "middle"]),
    ...niceNumbers(-top - height, -top, 0).map((value) =>
      [value, x - 4, y + (down * (-value - top)) / height + 3, "end"]),
  ];
  ticks.replaceChildren(...texts.map(([value, at, below, anchor]) => {
    const text = document.createElementNS(panel.namespaceURI, "text");
    text.setAttribute("x", at);
    text.setAttribute("y", below);
    text.setAttribute("text-anchor", anchor);
    text.textContent = Number(value.toPrecision(6));
    return text;
  }));
}

function niceNumbers(low, high, least) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = Math.max(least, [1, 2, 5, 10].find((one) => one * power * 5 >= high - low) * power);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

// A link to a run opens it, and what it is in.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target; one; one = one.parentElement) {
    if (one instanceof HTMLDetailsElement) one.open = true;
  }
  target?.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
