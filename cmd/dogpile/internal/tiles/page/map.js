"use strict";
// The view is four by four tiles. Its place is in the address, so that the browser's buttons go
// back and forth.
const deepest = 32, map = document.getElementById("map"), said = document.getElementById("said");
const counts = {hit: 0, stale: 0, created: 0, waited: 0, failed: 0};
let view = {zoom: 2, x: 0, y: 0}, asking = new AbortController();

const tiles = Array.from({length: 16}, (_, i) => {
  const button = document.createElement("button");
  button.append(document.createElement("img"), document.createElement("span"));
  button.firstChild.alt = "";
  button.addEventListener("click", () => into(i));
  map.append(button);
  return button;
});

function parse() {
  const [zoom, x, y] = location.hash.slice(1).split("/").map(Number);
  const ok = [zoom, x, y].every(Number.isInteger) && zoom >= 2 && zoom <= deepest && x >= 0 && y >= 0;
  view = ok ? {zoom, x: Math.min(x, 2 ** zoom - 4), y: Math.min(y, 2 ** zoom - 4)} : {zoom: 2, x: 0, y: 0};
}

function go(zoom, x, y) {
  const last = 2 ** zoom - 4, within = n => Math.max(0, Math.min(n, last));
  location.hash = `${zoom}/${within(x)}/${within(y)}`;
}

// A tile that is chosen fills the view with its own tiles, four in each direction.
function into(i) {
  if (view.zoom + 2 > deepest) {
    said.textContent = "It does not go deeper here.";
    return;
  }
  go(view.zoom + 2, (view.x + i % 4) * 4, (view.y + Math.floor(i / 4)) * 4);
}

const out = () => { if (view.zoom > 2) go(Math.max(2, view.zoom - 2), Math.floor(view.x / 4) - 1, Math.floor(view.y / 4) - 1); };
const move = (dx, dy) => go(view.zoom, view.x + dx, view.y + dy);

function mark(tile, place, kind, age) {
  tile.className = `tile ${kind}`;
  tile.lastChild.textContent = kind;
  tile.setAttribute("aria-label", `Tile ${place}: ${kind}${age === null ? "" : `, ${age} s old`}`);
  tile.title = age === null ? kind : `${kind}, ${age} s old`;
  counts[kind]++;
  document.querySelector(`#legend .${kind} dd`).textContent = counts[kind];
}

async function ask(tile, place, signal) {
  tile.classList.add("tile", "asked");
  let kind = "failed", age = null, image = null;
  try {
    const answer = await fetch(`tile/${place}`, {signal});
    const timing = /desc="?(\w+)/.exec(answer.headers.get("Server-Timing") || "");
    image = await answer.blob();
    if (answer.ok && timing && timing[1] in counts) {
      kind = timing[1];
      age = answer.headers.get("Age");
    }
  } catch (e) {
    if (signal.aborted) return; // another view is asked for by now
  }
  if (signal.aborted) return;
  const img = tile.firstChild, old = img.src;
  if (kind !== "failed") {
    img.src = URL.createObjectURL(image);
    if (old) URL.revokeObjectURL(old);
  }
  mark(tile, place, kind, age);
}

async function load() {
  asking.abort();
  asking = new AbortController();
  const {zoom, x, y} = view, signal = asking.signal;
  await Promise.all(tiles.map((tile, i) => ask(tile, `${zoom}/${x + i % 4}/${y + Math.floor(i / 4)}`, signal)));
}

function show() {
  parse();
  for (const tile of tiles) {
    const img = tile.firstChild;
    if (img.src) URL.revokeObjectURL(img.src);
    img.removeAttribute("src");
    tile.className = "tile";
    tile.lastChild.textContent = "";
  }
  said.textContent = `Zoom ${view.zoom}, from ${view.x}, ${view.y}`;
  load();
}

for (const [id, act] of Object.entries({out, reload: load, left: () => move(-2, 0), right: () => move(2, 0), up: () => move(0, -2), down: () => move(0, 2)})) {
  document.getElementById(id).addEventListener("click", act);
}
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const act = {ArrowLeft: () => move(-2, 0), ArrowRight: () => move(2, 0), ArrowUp: () => move(0, -2), ArrowDown: () => move(0, 2),
    "-": out, "+": () => into(Math.max(0, tiles.indexOf(document.activeElement))), r: load}[e.key];
  if (act) {
    e.preventDefault();
    act();
  }
});
let busy = false;
setInterval(async () => {
  if (busy || !document.getElementById("every").checked || document.hidden) return;
  busy = true;
  await load();
  busy = false;
}, 1000);
addEventListener("hashchange", show);
show();
