"use strict";
document.documentElement.classList.add("js");

// Tables sort by the column whose heading is clicked.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, place) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[place].dataset.sort;
    const order = (a, b) => {
      const x = value(a), y = value(b), both = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
      return both ? x - y : x.localeCompare(y, undefined, {numeric: true});
    };
    body.append(...[...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)));
    table.dispatchEvent(new Event("sorted"));
  }));
}

// A chart is drawn when it comes near the visible part of the page.
const settings = new Map();  // what each section with rows does to a chart that was drawn
const renderers = box => box.view ? box.view.model.renderers.filter(one => one.glyph) : [];

function switchParts(figure) {
  const on = new Set([...figure.querySelectorAll("[data-part]:checked")].map(one => one.dataset.part));
  for (const box of figure.querySelectorAll(".chart"))
    for (const one of renderers(box))
      if (figure.querySelector("[data-part]")) one.visible = one.name.split(" ").every(part => on.has(part));
}

async function draw(box) {
  const item = JSON.parse(box.querySelector("script").textContent);
  [box.view] = await Bokeh.embed.embed_item(item, box);
  if (matchMedia("(pointer: coarse)").matches)  // a finger scrolls the page, and does not zoom the chart
    for (const tool of box.view.model.toolbar.tools) if (tool.type === "BoxZoomTool") tool.active = false;
  switchParts(box.closest("figure"));
  settings.get(box.closest("section"))?.(box);
}

if (window.Bokeh) {
  document.documentElement.classList.add("charted");
  Bokeh.logger.set_level("error");  // Bokeh.set_log_level says in the console that it does
  const near = new IntersectionObserver(entries => {
    for (const {isIntersecting, target} of entries) if (isIntersecting) {
      near.unobserve(target);
      draw(target);
    }
  }, {rootMargin: "600px"});
  const boxes = [...document.querySelectorAll(".chart")];
  boxes.forEach(box => near.observe(box));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    boxes.forEach(box => box.view?.request_repaint()));
  for (const figure of document.querySelectorAll("figure"))
    figure.querySelector(".parts")?.addEventListener("change", () => switchParts(figure));
}

// Rows that can be filtered and hidden; the section's charts show the same rows, in the same colours.
for (const part of document.querySelectorAll(".rows")) {
  const section = part.closest("section"), table = part.querySelector("table"), bar = part.querySelector(".bar");
  const rows = [...table.tBodies[0].rows], search = bar.querySelector("input"), hidden = new Set();
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells].map(head => head.textContent);
  const name = row => row.cells[0].lastChild.textContent;
  const texts = new Map(rows.map(row => [row,
    [name(row), ...[...row.cells].slice(1).map((cell, place) => `${heads[place + 1]}=${cell.textContent}`)].join(" ").toLowerCase()]));
  const style = new Map(), chips = new Map();

  function paint(element, key) {
    const [colour, dash] = style.get(key), line = element.querySelector("line");
    line.style.stroke = colour;
    line.style.strokeDasharray = {dashed: "5 3", dashdot: "5 2 1 2"}[dash] ?? "none";
  }
  function restyle(shown) {  // the first visible rows have the colours that stay apart
    const many = rows.length >= styles.length;
    (many ? shown : rows).forEach((row, place) => style.set(row.dataset.key, styles[Math.min(place, styles.length - 1)]));
    if (many) for (const row of rows) if (row.hidden) style.set(row.dataset.key, styles[styles.length - 1]);
    for (const row of rows) paint(row, row.dataset.key);
    for (const [key, chip] of chips) paint(chip, key);
  }
  const isShown = new Set();
  function onChart(box) {
    const done = new Set();
    for (const one of renderers(box)) {
      const source = one.data_source, keys = source.data.key;
      if (!keys) continue;
      if (source.data.colour && rows.length >= styles.length && !done.has(source)) {
        done.add(source);
        const dash = keys.map(key => style.get(key)[1].replace("dashdot", "dotdash"));
        source.data = {...source.data, colour: keys.map(key => style.get(key)[0]), ...(source.data.dash ? {dash} : {})};
      }
      one.view.filter.booleans = [...keys].map(key => isShown.has(key));
    }
  }
  function apply() {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    isShown.clear();
    for (const row of table.tBodies[0].rows) {
      const key = row.dataset.key, matches = wanted.every(word => texts.get(row).includes(word));
      row.hidden = !matches || hidden.has(key);
      if (!row.hidden) isShown.add(key);
      const chip = chips.get(key);
      if (chip) {
        chip.hidden = !matches;
        chip.firstChild.setAttribute("aria-pressed", String(!hidden.has(key)));
      }
    }
    restyle([...table.tBodies[0].rows].filter(row => !row.hidden));
    bar.querySelector("output").value = words.shown.replace("{shown}", isShown.size).replace("{of}", rows.length);
    section.querySelectorAll(".chart").forEach(onChart);
  }
  bar.hidden = rows.length < 5;  // the legend is enough
  const toggle = key => { hidden.delete(key) || hidden.add(key); apply(); };

  for (const legend of section.querySelectorAll(".legend"))
    for (const row of rows) {
      const chip = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.title = name(row);
      button.append(row.querySelector(".swatch").cloneNode(true), name(row));
      button.addEventListener("click", () => toggle(row.dataset.key));
      chip.append(button);
      legend.append(chip);
      chips.set(row.dataset.key, chip);
    }
  table.addEventListener("click", event => {
    if (event.target.matches(".hide")) toggle(event.target.closest("tr").dataset.key);
  });
  bar.querySelector(".all").addEventListener("click", () => { hidden.clear(); search.value = ""; apply(); });
  bar.querySelector(".none").addEventListener("click", () => { rows.forEach(row => hidden.add(row.dataset.key)); apply(); });
  search.addEventListener("input", apply);
  table.addEventListener("sorted", () => { if (rows.length >= styles.length) apply(); });
  settings.set(section, onChart);
  apply();
}

// Commands can be copied, also where the browser has no clipboard for pages without encryption.
for (const button of document.querySelectorAll(".copy"))
  button.addEventListener("click", async () => {
    const text = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(text.textContent);
    } catch {
      getSelection().selectAllChildren(text);
      document.execCommand("copy");
      getSelection().removeAllRanges();
    }
    button.textContent = words.copied;
    setTimeout(() => { button.textContent = words.copy; }, 1500);
  });

// The contents mark the section that is being read.
const links = new Map([...document.querySelectorAll("nav a")].map(link => [link.hash.slice(1), link]));
const reading = new IntersectionObserver(entries => {
  for (const {isIntersecting, target} of entries) if (isIntersecting) {
    links.forEach(link => link.removeAttribute("aria-current"));
    links.get(target.id)?.setAttribute("aria-current", "true");
  }
}, {rootMargin: "-20% 0px -70% 0px"});
document.querySelectorAll("section").forEach(section => reading.observe(section));
