// Keeps a page up to date: it is asked for again and again, and what has changed in the
// elements with data-live takes the place of what was there. Plots are drawn from the tables
// below them.
"use strict";
{
  const pause = 2000, longest = 15000; // milliseconds
  const link = document.getElementById("link");
  const button = document.getElementById("pause");
  let paused = false, failures = 0, timer = 0;

  // refusals tell of answers that have nothing of the page.
  const refusals = { 401: "Refused since", 403: "Refused since", 404: "Not there any more since" };

  // say tells a screen reader only what is new.
  const say = (text) => { if (link.textContent !== text) link.textContent = text; };

  // put replaces what is in an element, and the time that it stands for. What has the focus
  // there keeps it, and what somebody has selected stays.
  const put = (old, fresh) => {
    if (fresh.dateTime !== undefined) old.dateTime = fresh.dateTime;
    if (old.innerHTML === fresh.innerHTML) return;
    const selection = getSelection();
    if (!selection.isCollapsed && selection.containsNode(old, true)) return;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceChildren(...fresh.childNodes);
    if (focused === null) return;
    for (const a of old.querySelectorAll("a")) {
      if (a.getAttribute("href") === focused) { a.focus({ preventScroll: true }); break; }
    }
  };

  const refresh = async () => {
    timer = 0;
    let problem = "";
    try {
      const response = await fetch(location.href, { signal: AbortSignal.timeout(longest) });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (paused) return;
      if (response.ok) show(page);
      else problem = refusals[response.status] ?? `Error ${response.status} since`;
    } catch {
      problem = "No connection since";
    }
    if (paused) return;
    failures = problem === "" ? 0 : failures + 1;
    say(problem === "" ? "Live," : problem);
    next();
  };

  const show = (page) => {
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = page.getElementById(old.id);
      if (fresh) put(old, fresh);
    }
    // A part that the page did not have before.
    if (page.querySelectorAll("[data-live]").length !== document.querySelectorAll("[data-live]").length) location.reload();
    plots.forEach((draw) => draw());
  };

  const next = () => {
    clearTimeout(timer);
    timer = 0;
    if (!paused && !document.hidden) timer = setTimeout(refresh, Math.min(pause * (1 + failures), longest));
  };

  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", paused);
    say(paused ? "Paused at" : "Live,");
    if (paused) next(); else refresh();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused && !timer) refresh(); });

  // read returns the columns of a table whose newest row is the first.
  const read = (table) => {
    const rows = [...table.tBodies[0].rows].reverse();
    const cell = (row, i) => row.cells[i].textContent === "" ? null : Number(row.cells[i].textContent);
    const columns = [rows.map((row) => Date.parse(row.querySelector("time").dateTime) / 1000)];
    for (let i = 1; i < table.tHead.rows[0].cells.length; i++) columns.push(rows.map((row) => cell(row, i)));
    return columns;
  };

  const clock = (seconds, length) => new Date(seconds * 1000).toISOString().slice(11, 11 + length); // in UTC

  // settings returns how a plot looks, in the colours that the page has now.
  const settings = (box, table, log) => {
    const css = getComputedStyle(box);
    const axis = { stroke: css.color, grid: { stroke: css.borderTopColor, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const powers = (_, values) => values.map((v) => Number.isInteger(Math.log10(v)) ? v : null);
    const dashes = [[], [6, 3], [2, 3]]; // colours alone do not tell them apart
    const heads = [...table.tHead.rows[0].cells].slice(1);
    return {
      width: box.clientWidth, height: 200,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: { y: false, drag: { x: false, y: false } },
      scales: {
        x: { range: (_, first, last) => [Math.min(first, last - 60), last] },
        y: log ? { distr: 3 } : { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] },
      },
      axes: [
        { ...axis, space: 70, incrs: [60, 120, 300], values: (_, times) => times.map((t) => clock(t, 5)) },
        { ...axis, size: 56, grid: log ? { ...axis.grid, filter: powers } : axis.grid },
      ],
      series: [
        { label: "UTC", value: (_, t) => t === null ? "" : clock(t, 8) },
        ...heads.map((head, i) => {
          const colour = getComputedStyle(head).borderBottomColor;
          return { label: head.textContent, stroke: colour, width: 2, dash: dashes[i], points: { show: log, size: 5, fill: colour }, spanGaps: log };
        }),
      ],
    };
  };

  // plot draws a plot, and returns what draws it again.
  const plot = (box) => {
    const table = document.getElementById(box.dataset.table).closest("table");
    const log = "log" in box.dataset;
    let drawn = null;
    const draw = () => {
      const data = read(table);
      if (data[0].length === 0) return;
      if (drawn === null) drawn = new uPlot(settings(box, table, log), data, box);
      else drawn.setData(data);
      // It draws, and looks where the mouse is, a little later than now.
      queueMicrotask(() => { if (drawn.cursor.idx == null) drawn.setLegend({ idx: data[0].length - 1 }); });
    };
    const again = () => { if (drawn !== null) { drawn.destroy(); drawn = null; } draw(); };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    new ResizeObserver(() => { if (drawn !== null) drawn.setSize({ width: box.clientWidth, height: 200 }); }).observe(box);
    draw();
    return draw;
  };
  const plots = [...document.querySelectorAll(".plot")].map(plot);

  button.hidden = false;
  say("Live,");
  next();
}
