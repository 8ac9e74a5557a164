// The table of scores and the table of all clips: sortable, filterable, readable with keys.
"use strict";

FB.grid = function (label, headings, onSort) {
  // headings: {text, small, sortable, title}; gives the table, its body and a function that marks the sorted column.
  const cells = headings.map((heading, i) => {
    const inner = heading.sortable
      ? FB.el("button", { type: "button", tabindex: i ? -1 : 0, onclick: () => onSort(i) }, heading.text)
      : document.createTextNode(heading.text);
    const th = FB.el("th", { scope: "col", role: "columnheader", "aria-sort": heading.sortable ? "none" : null,
      tabindex: heading.sortable ? null : -1 }, inner);
    if (heading.small) th.append(FB.el("small", {}, heading.small));
    return th;
  });
  const body = FB.el("tbody");
  const table = FB.el("table", { role: "grid", "aria-label": label }, FB.el("thead", {}, FB.el("tr", {}, ...cells)), body);
  FB.arrowKeys(table);
  const mark = (column, ascending) => {
    cells.forEach((th, i) => headings[i].sortable && th.setAttribute("aria-sort", i !== column ? "none" : ascending ? "ascending" : "descending"));
  };
  return { box: FB.el("div", { class: "scroll", tabindex: -1 }, table), table, body, mark };
};

FB.compare = function (a, b, ascending) {
  // Missing numbers last, whichever way the column is sorted.
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return ascending ? order : -order;
};

FB.scoreTable = function () {
  const { methods, metrics, cells, runs } = FB.data;
  let state = { folded: FB.systems.length > 0, rival: FB.systems.length > 1 ? FB.systems[0] : null };
  let shown, grid;
  const sort = (column) => {
    const better = column === 0 || !metrics[shown[column - 1]].higher;
    state.ascending = state.column === column ? !state.ascending : better;
    state.column = column;
    draw();
  };
  const key = (m) => {
    if (state.column === 0) return methods[m].name;
    const cell = cells[m][shown[state.column - 1]];
    return cell && !cell.void ? cell.value : null;
  };
  const draw = () => {
    const sorted = (group) => (state.column < 0 ? group : [...group].sort((a, b) => FB.compare(key(a), key(b), state.ascending) || a - b));
    if (state.column >= 0) grid.mark(state.column, state.ascending);
    const controls = sorted(FB.controls).map(row);
    controls.forEach((line) => (line.hidden = state.folded));
    grid.body.replaceChildren(...sorted(FB.systems).map(row), ...(FB.systems.length && FB.controls.length ? [fold] : []), ...controls);
    foldButton.textContent = `${state.folded ? "▸" : "▾"} ${FB.controls.length} controls, not ranked`;
    foldButton.setAttribute("aria-expanded", String(!state.folded));
  };
  const foldButton = FB.el("button", { type: "button", class: "link", tabindex: -1, onclick: () => {
    state.folded = !state.folded;
    draw();
    foldButton.focus();
  } });
  const fold = FB.el("tr", { class: "fold" }, FB.el("th", { scope: "row", tabindex: -1 }, foldButton));
  const best = metrics.map((metric, v) => FB.bestOf(v));
  const row = (m) => FB.el("tr", { class: methods[m].control ? "control" : "" },
    FB.el("th", { scope: "row", tabindex: -1 }, FB.el("span", { class: "name" }, methods[m].name),
      FB.el("small", {}, methods[m].control ? "control"
        : [...methods[m].marks, ...(methods[m].failed ? [`${methods[m].failed} clips failed`] : [])].join(", "))),
    ...shown.map((v) => scoreCell(m, v)));
  const scoreCell = (m, v) => {
    const cell = cells[m][v];
    const td = FB.el("td", { class: "num", tabindex: -1 });
    if (!cell) td.append("not run");
    else if (cell.void) td.append(`void`, FB.el("small", {}, FB.counts(cell)));
    else {
      td.append(FB.el(best[v].get(m) || "span", {}, cell.shown), mark(m, v));
      td.append(FB.el("small", {}, [cell.range, FB.complete(cell) ? "" : FB.counts(cell), ...(cell.marks || []).map((mark) => mark.split(":")[0])].filter(Boolean).join(" ")));
      td.append(FB.whisker(m, v, state.folded ? FB.systems : [...methods.keys()]));
    }
    FB.tip.attach(td, () => FB.scoreProvenance(m, v, state.rival));
    return td;
  };
  // Better, worse or not decided beside the chosen system, as `floatbench compare` says it.
  const mark = (m, v) => {
    const verdict = state.rival === null || m === state.rival ? null : FB.verdict(v, state.rival, m);
    if (!verdict) return state.rival === null ? "" : FB.el("span", { class: "verdict" });
    return FB.el("span", { class: `verdict ${verdict.word.replace(" ", "-")}` }, FB.MARKS[verdict.word],
      FB.el("span", { class: "offscreen" }, ` ${verdict.word}`));
  };
  const against = FB.el("select", { id: "against", onchange: () => {
    state.rival = against.value === "" ? null : Number(against.value);
    draw();
  } }, FB.el("option", { value: "" }, "nothing"), ...FB.systems.map((m) => FB.el("option", { value: m }, methods[m].name)));
  against.value = state.rival === null ? "" : String(state.rival);
  const copies = Object.entries(FB.data.copies).map(([name, text]) => {
    const button = FB.el("button", { type: "button", class: "copy", onclick: () => FB.copy(button, text) }, `Copy as ${name}`);
    return button;
  });
  FB.byId("score-tools").replaceChildren(...(FB.systems.length > 1 ? [FB.el("label", {}, "Marks against ", against),
    FB.el("span", { class: "legend" }, "▲ better, ▼ worse, ≈ not decided, by the paired test")] : []),
    FB.el("span", { class: "pair" }, ...copies));
  const build = () => {
    state = { ...state, column: -1, ascending: true };
    shown = FB.sets.shown();
    const headings = [{ text: "method", sortable: true }, ...shown.map((v) => ({
      text: `${metrics[v].column} ${metrics[v].higher ? "↑" : "↓"}`, small: metrics[v].id + (metrics[v].tiny ? " · tiny" : ""), sortable: true,
    }))];
    grid = FB.grid("Scores of all methods", headings, sort);
    fold.firstChild.colSpan = shown.length + 1;
    draw();
    FB.byId("score-table").replaceChildren(grid.box);
  };
  FB.sets.bar("score-sets");
  FB.sets.onChange(build);
  build();
  const notes = [];
  for (const run of runs) {
    if (run.unranked_because.length) notes.push(`${run.name}: not ranked: ${run.unranked_because.join("; ")}.`);
    run.controls.filter((check) => !check.held).forEach((check) =>
      notes.push(`FLAG ${check.metric}: does not keep the rule “${check.rule}” (${check.detail}).`));
    run.notes.forEach((note) => notes.push(`${run.name}: ${note}.`));
    Object.entries(run.rejected).forEach(([clip, why]) => notes.push(`Rejected by preprocessing: ${clip}, ${why}.`));
  }
  methods.forEach((method, m) => cells[m].forEach((cell, v) => (cell && cell.marks || []).filter((mark) => mark.startsWith("self-judged"))
    .forEach((mark) => notes.push(`${method.name}: ${metrics[v].id} is ${mark}.`))));
  if (metrics.some((metric) => metric.tiny)) notes.push("tiny: made with the small bundled networks, trained on synthetic data only; comparable inside this table, never with published numbers.");
  runs.forEach((run) => run.interval_notes.forEach((note) => notes.push(`${note}.`)));
  if (FB.systems.length > 1) notes.push("Bold: no system is better; underlined: the next place. Better is what the paired test on the same clips says (floatbench compare); what is not decided shares a place.");
  const reasons = new Set(cells.flat().filter((cell) => cell && cell.no_interval && cell.value !== null && !cell.void).map((cell) => cell.no_interval));
  reasons.forEach((reason) => notes.push(`No interval: ${reason}.`));
  FB.byId("score-notes").replaceChildren(...[...new Set(notes)].map((note) => FB.el("li", {}, note)));
};

// Bold and underlined of a column, by the paired test: m -> tag.
FB.bestOf = function (v) {
  const tags = { best: "strong", second: "u" };
  return new Map(FB.systems.filter((m) => FB.data.places[m][v] && tags[FB.data.places[m][v].mark]).map((m) => [m, tags[FB.data.places[m][v].mark]]));
};

// A small picture of value and interval on the column's own scale.
FB.whisker = function (m, v, among) {
  const { cells } = FB.data;
  const all = among.map((other) => cells[other][v]).filter((cell) => cell && !cell.void && cell.value !== null);
  const ends = all.flatMap((cell) => (cell.interval ? [cell.interval.low, cell.interval.high] : [cell.value]));
  const low = Math.min(...ends), high = Math.max(...ends), cell = cells[m][v];
  if (!(high > low)) return "";
  const at = (x) => 2 + (96 * (x - low)) / (high - low);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const add = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    svg.append(node);
  };
  Object.entries({ viewBox: "0 0 100 8", class: "whisker", "aria-hidden": "true", preserveAspectRatio: "none" }).forEach(([n, x]) => svg.setAttribute(n, x));
  if (cell.interval) add("line", { x1: at(cell.interval.low), x2: at(cell.interval.high), y1: 4, y2: 4, class: "range" });
  add("rect", { x: at(cell.value) - 1.2, y: 1, width: 2.4, height: 6, class: "point" });
  return svg;
};

FB.clipTable = function () {
  const { methods, metrics, clips, values, states } = FB.data;
  const CHUNK = 100; // rows drawn at a time; more follow when the end comes near
  const usable = (v) => values.some((row) => row[v].some((x) => x !== null));
  const all = clips.flatMap((_, c) => methods.map((_, m) => [c, m]));
  const text = clips.map((clip) => [clip.id, clip.identity, ...Object.values(clip.labels)].join("\n").toLowerCase());
  let state, shownMetrics, headings, grid;
  const sort = (column) => {
    const metric = metrics[shownMetrics[column - 2]];
    const worstFirst = metric ? !metric.higher : false; // the worst clips are what one looks for
    state.ascending = state.column === column ? !state.ascending : !worstFirst;
    state.column = column;
    update();
  };
  const key = ([c, m]) => {
    if (state.column === 0) return clips[c].id;
    if (state.column === 1) return methods[m].name;
    if (state.column === headings.length - 1) return states[m][c];
    return values[m][shownMetrics[state.column - 2]][c];
  };
  const row = ([c, m]) => FB.el("tr", { class: states[m][c] ? "failed" : "" },
    FB.el("th", { scope: "row", tabindex: -1 },
      FB.el("button", { type: "button", class: "link", tabindex: -1, "aria-label": `Compare ${clips[c].id}`, onclick: () => FB.stage.open(c, m) }, clips[c].id)),
    FB.el("td", { tabindex: -1 }, methods[m].name),
    ...shownMetrics.map((v) => {
      const td = FB.el("td", { class: "num", tabindex: -1 }, values[m][v][c] === null ? "–" : FB.number(values[m][v][c]));
      FB.tip.attach(td, () => FB.clipProvenance(m, v, c));
      return td;
    }),
    FB.el("td", { tabindex: -1, class: "state" }, states[m][c] || "ok"));
  const more = () => {
    const next = state.rows.slice(state.drawn, state.drawn + CHUNK);
    state.drawn += next.length;
    grid.body.append(...next.map(row));
    end.hidden = state.drawn >= state.rows.length;
  };
  const update = () => {
    const words = FB.byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const method = FB.byId("clips-method").value, failed = FB.byId("failed-only").checked;
    state.rows = all.filter(([c, m]) =>
      (method === "" || (method === "systems" ? !methods[m].control : Number(method) === m)) && (!failed || states[m][c]) &&
      words.every((word) => text[c].includes(word) || states[m][c].toLowerCase().includes(word)));
    if (state.column >= 0) {
      const keys = new Map(state.rows.map((entry) => [entry, key(entry)]));
      state.rows.sort((a, b) => FB.compare(keys.get(a), keys.get(b), state.ascending) || a[0] - b[0] || a[1] - b[1]);
      grid.mark(state.column, state.ascending);
    }
    state.drawn = 0;
    grid.body.replaceChildren();
    more();
    FB.byId("clips-count").textContent = `${state.rows.length} of ${all.length} rows`;
  };
  const end = FB.el("button", { type: "button", class: "more", onclick: more }, "Show more rows");
  let observer = null;
  const build = () => {
    state = { column: -1, ascending: true, rows: all, drawn: 0 };
    shownMetrics = FB.sets.shown().filter(usable);
    headings = [{ text: "clip", sortable: true }, { text: "method", sortable: true },
      ...shownMetrics.map((v) => ({ text: `${metrics[v].column} ${metrics[v].higher ? "↑" : "↓"}`, small: metrics[v].id, sortable: true })),
      { text: "state", sortable: true }];
    grid = FB.grid("Every clip of every method", headings, sort);
    if (observer) observer.disconnect();
    observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && !end.hidden && more(), { root: grid.box, rootMargin: "600px" });
    observer.observe(end);
    grid.box.classList.add("tall");
    grid.box.append(end);
    FB.byId("clip-table").replaceChildren(grid.box);
    update();
  };
  if (FB.systems.length) FB.byId("clips-method").prepend(FB.el("option", { value: "systems", selected: true }, "all systems"));
  FB.byId("clips-method").append(...FB.methodOptions());
  for (const [id, event] of [["find", "input"], ["clips-method", "change"], ["failed-only", "change"]]) FB.byId(id).addEventListener(event, () => update());
  FB.sets.bar("clip-sets");
  FB.sets.onChange(build);
  build();
};
