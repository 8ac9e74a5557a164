// Shared pieces: elements from data (text only, never markup), numbers, colours, provenance tips, grids with arrow keys.
"use strict";

const FB = { data: window.floatbench, clips: new Map(), waiting: new Map() };

FB.el = function (tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name in node && typeof value === "boolean") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
};

FB.byId = (id) => document.getElementById(id);

// Clips, and where pictures of them were not measured the pictures as well.
FB.counts = function (cell) {
  const clips = `${cell.n} of ${cell.n_available}`;
  return cell.pictures === cell.of_pictures ? clips : `${clips} clips, ${cell.pictures} of ${cell.of_pictures} pictures`;
};
FB.complete = (cell) => cell.n === cell.n_available && cell.pictures === cell.of_pictures;

// Four significant digits, written as the tables of `floatbench report` write them.
FB.number = function (value) {
  if (value === null || value === undefined) return "none";
  if (value === 0 || Math.abs(value) < 1e-6) return "0";
  if (Math.abs(value) >= 1e4) return value.toFixed(0);
  const rounded = Number(value.toPrecision(4));
  if (Math.abs(rounded) >= 1e-4) return String(rounded);
  return String(Number(value.toExponential(3)).toExponential()).replace(/e([+-])(\d)$/, "e$10$2");
};

FB.median = function (values) {
  const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
};

// With many columns the tables show one set of metrics at a time: tabs above each, and one choice for all of them.
FB.sets = (function () {
  const groups = FB.data.groups;
  const bars = [];
  const listeners = [];
  let chosen = 0;
  const mark = () => bars.flat().forEach((tab) => tab.setAttribute("aria-pressed", String(Number(tab.value) === chosen)));
  const choose = (i) => {
    chosen = i;
    mark();
    listeners.forEach((listener) => listener());
  };
  const bar = (id) => {
    if (groups.length < 2) return;
    const tabs = groups.map((group, i) => FB.el("button", { type: "button", value: i, onclick: () => choose(i) }, group.name));
    bars.push(tabs);
    FB.byId(id).replaceChildren(...tabs);
    mark();
  };
  const open = (name) => {
    const wanted = groups.findIndex((group) => group.name === name);
    if (wanted >= 0 && wanted !== chosen) choose(wanted);
  };
  const name = () => (groups.length > 1 ? groups[chosen].name : "");
  return { bar, open, name, shown: () => groups[chosen].metrics, onChange: (listener) => listeners.push(listener) };
})();

FB.systems = FB.data.methods.map((m, i) => i).filter((i) => !FB.data.methods[i].control);
FB.controls = FB.data.methods.map((m, i) => i).filter((i) => FB.data.methods[i].control);

// Check boxes of all methods; the controls but for the real video are folded where there are systems to look at.
FB.methodBoxes = function (chosen, onchange) {
  const { methods } = FB.data;
  const box = (m) => FB.el("label", { class: "check" },
    FB.el("input", { type: "checkbox", value: m, checked: chosen.includes(m), onchange }), methods[m].name);
  const folded = FB.systems.length ? FB.controls.filter((m) => methods[m].name !== "reference") : [];
  const open = [...methods.keys()].filter((m) => !folded.includes(m)).map(box);
  if (!folded.length) return open;
  return [...open, FB.el("details", { class: "fold", open: folded.some((m) => chosen.includes(m)) },
    FB.el("summary", {}, `${folded.length} controls`), ...folded.map(box))];
};

// Options of a list of methods, systems first.
FB.methodOptions = function () {
  const option = (m) => FB.el("option", { value: m }, FB.data.methods[m].name);
  const group = (label, found) => (found.length ? FB.el("optgroup", { label }, ...found.map(option)) : null);
  return [group("systems", FB.systems), group("controls", FB.controls)].filter(Boolean);
};

// Puts text on the clipboard and says so on the button; pages opened from disk may lack the newer way.
FB.copy = async function (button, text) {
  let done = false;
  try {
    await navigator.clipboard.writeText(text);
    done = true;
  } catch {
    const area = FB.el("textarea", { class: "offscreen", readonly: true, "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const said = button.dataset.text || button.textContent;
  button.dataset.text = said;
  button.textContent = done ? "Copied" : "Copying is not allowed here";
  setTimeout(() => (button.textContent = said), 1500);
};

// Tracks of a clip come from a file of their own, once; a script element works from disk, fetch does not.
FB.clipArrived = function (index, methods) {
  FB.clips.set(index, methods);
  (FB.waiting.get(index) || []).forEach((resolve) => resolve(methods));
  FB.waiting.delete(index);
};

FB.loadClip = function (index) {
  if (FB.clips.has(index)) return Promise.resolve(FB.clips.get(index));
  return new Promise((resolve) => {
    if (FB.waiting.has(index)) {
      FB.waiting.get(index).push(resolve);
      return;
    }
    FB.waiting.set(index, [resolve]);
    const failed = () => FB.clipArrived(index, FB.data.methods.map(() => null));
    const script = FB.el("script", { src: `clips/${FB.data.clips[index].file}.js`, onerror: failed });
    document.head.append(script);
  });
};

// Colours: as the system, light, dark.
FB.theme = (function () {
  const button = FB.byId("theme");
  const states = ["system", "light", "dark"];
  const listeners = [];
  let state = 0;
  const kept = (write) => {
    try {
      if (write) localStorage.setItem("floatbench-theme", states[state]);
      return localStorage.getItem("floatbench-theme");
    } catch {
      return null; // storage is forbidden: the choice lasts as long as the page
    }
  };
  const show = () => {
    if (states[state] === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = states[state];
    button.textContent = `Colours: ${states[state]}`;
    button.setAttribute("aria-label", `Colours: ${states[state] === "system" ? "as the system" : states[state]}`);
    listeners.forEach((listener) => listener());
  };
  state = Math.max(0, states.indexOf(kept(false)));
  button.addEventListener("click", () => {
    state = (state + 1) % states.length;
    kept(true);
    show();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
  return { onChange: (listener) => listeners.push(listener) };
})();

FB.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// One tip for all numbers: shown on pointing, on focus and on tapping, closed with Escape or by leaving.
FB.tip = (function () {
  const tip = FB.byId("tip");
  let owner = null;
  const hide = () => {
    if (owner) owner.removeAttribute("aria-describedby");
    owner = null;
    tip.hidden = true;
  };
  const place = (target) => {
    const box = target.getBoundingClientRect();
    const width = Math.min(tip.offsetWidth, window.innerWidth - 16);
    const below = box.bottom + 8 + tip.offsetHeight < window.innerHeight || box.top < tip.offsetHeight + 8;
    tip.style.left = `${Math.max(8, Math.min(box.left, window.innerWidth - width - 8)) + window.scrollX}px`;
    tip.style.top = `${(below ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + window.scrollY}px`;
  };
  const show = (target, lines) => {
    hide();
    owner = target;
    const list = FB.el("dl");
    for (const [name, value] of lines) {
      if (value === "" || value === null || value === undefined) continue;
      list.append(FB.el("dt", {}, name), FB.el("dd", {}, String(value)));
    }
    tip.replaceChildren(list);
    tip.hidden = false;
    target.setAttribute("aria-describedby", "tip");
    place(target);
  };
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("pointerdown", (event) => {
    if (owner && !owner.contains(event.target) && !tip.contains(event.target)) hide();
  });
  tip.addEventListener("pointerleave", hide);
  const attach = (target, lines) => {
    target.addEventListener("pointerenter", () => show(target, lines()));
    target.addEventListener("pointerleave", (event) => !tip.contains(event.relatedTarget) && hide());
    target.addEventListener("focus", () => show(target, lines()));
    target.addEventListener("blur", hide);
    target.addEventListener("click", () => owner !== target && show(target, lines()));
  };
  return { attach, hide };
})();

const shortHash = (text) => (text && text.length > 16 ? text.slice(0, 12) + "…" : text);

FB.placeText = (place) => !place ? "" : place.rank === null ? "none: no paired test with another system" : `${place.tied ? "shared " : ""}${place.rank}`;

// Method b under one metric as the paired test sees it against method a; null where there was none.
FB.verdict = function (v, a, b) {
  for (const verdict of FB.data.verdicts[v]) {
    if (verdict.a === b && verdict.b === a) return verdict;
    if (verdict.a === a && verdict.b === b) return { ...verdict, word: { better: "worse", worse: "better" }[verdict.word] || verdict.word, difference: verdict.reversed };
  }
  return null;
};

FB.MARKS = { better: "▲", worse: "▼", "not decided": "≈" };

// Where a score comes from: everything the record says about it.
FB.scoreProvenance = function (m, v, rival = null) {
  const { methods, metrics, cells, runs } = FB.data;
  const cell = cells[m][v], metric = metrics[v], method = methods[m], run = runs[method.run];
  if (!cell) return [["method", method.name], ["metric", metric.id], ["state", "not run"]];
  const interval = cell.interval;
  const pairs = (record) => Object.entries(record).map(([name, value]) => `${name} ${shortHash(value)}`).join(", ");
  const verdict = rival === null || rival === m ? null : FB.verdict(v, rival, m);
  return [
    ["method", method.name],
    ["metric", `${metric.id}${metric.tiny ? " (tiny: small bundled network)" : ""}, ${metric.higher ? "higher" : "lower"} is better`],
    ["value", cell.value === null ? "none" : cell.value],
    ["interval", interval ? `${interval.low} to ${interval.high}, ${interval.level * 100} %, ${interval.method}` : cell.no_interval || "none"],
    ["spread", cell.replicate_spread ? `${cell.replicate_spread} over ${run.replicates} seeds` : ""],
    ["place", FB.placeText(FB.data.places[m][v])],
    [verdict ? `against ${methods[rival].name}` : "", verdict ? `${verdict.word}${verdict.why ? `: ${verdict.why}` : `: difference ${verdict.difference}, p ${verdict.p} (Holm)`}` : ""],
    ["clips", `${cell.n} of ${cell.n_available} available, ${cell.n_protocol} in the protocol${cell.void ? "; VOID: below the coverage floor" : ""}`],
    ["pictures", cell.of_pictures ? `${cell.pictures} of ${cell.of_pictures} of these clips measured` : ""],
    ["marks", (cell.marks || []).join("; ")],
    ["on common clips", cell.common_value === undefined ? "" : `${FB.number(cell.common_value)} (${cell.common_n})`],
    ["failed", cell.failures ? Object.entries(cell.failures).slice(0, 4).map(([c, why]) => `${c}: ${why}`).join("; ") : ""],
    ["ranked", run.ranked ? "yes" : `no: ${run.unranked_because.join("; ")}`],
    ["protocol", `${run.label}, hash ${shortHash(run.protocol_hash)}`],
    ["seed", run.seed],
    ["backbones", pairs(metric.backbones)],
    ["weights", pairs(metric.weights) + (metric.fabricated.length ? "; seeded random weights" : "")],
    ["licences", Object.entries(metric.licences).map(([name, text]) => `${name}: ${text}`).join("; ")],
    ...FB.environmentLines(run.environment),
  ];
};

FB.environmentLines = (env) => [
  ["device", env.device],
  ["made by", `floatbench ${env.floatbench || "?"}, commit ${shortHash(String(env.commit || "unknown"))}${env.dirty ? " with local changes" : ""}`],
  ["packages", env.packages ? ["torch", "numpy", "scipy", "av"].filter((p) => env.packages[p]).map((p) => `${p} ${env.packages[p]}`).join(", ") : ""],
];

// Where the value of one clip comes from.
FB.clipProvenance = function (m, v, c) {
  const { methods, metrics, clips, values, states, runs } = FB.data;
  const value = values[m][v][c], run = runs[methods[m].run], metric = metrics[v];
  const details = FB.clips.get(c);
  const extras = details && details[m] ? details[m].extras[metric.id] || {} : {};
  const failure = states[m][c] || (FB.data.cells[m][v]?.failures || {})[clips[c].id] || "";
  return [
    ["clip", `${clips[c].id} (${clips[c].identity})`],
    ["method", methods[m].name],
    ["metric", `${metric.id}, ${metric.higher ? "higher" : "lower"} is better`],
    ["value", value === null ? failure || "a distance between distributions has no value for one clip" : value],
    ["further", Object.entries(extras).map(([name, x]) => `${name} ${FB.number(x)}`).join(", ")],
    ["protocol", `${run.label}, seed ${run.seed}`],
    ["frames", details && details[m] ? `${details[m].frames} of ${details[m].size.join(" × ")}, pixels ${shortHash(details[m].pixels)}` : ""],
    ["weights", Object.entries(metric.weights).map(([name, hash]) => `${name} ${shortHash(hash)}`).join(", ")],
    ["device", run.environment.device],
  ];
};

// A table whose cells are reached with the arrow keys: one tab stop (the pattern of WAI-ARIA grids).
FB.arrowKeys = function (table) {
  const rows = () => [...table.rows].filter((row) => !row.hidden).map((row) => [...row.cells]);
  const target = (cell) => cell.querySelector("button, a") || cell;
  const stop = (cell) => {
    table.querySelectorAll('[tabindex="0"]').forEach((other) => other.setAttribute("tabindex", "-1"));
    target(cell).setAttribute("tabindex", "0");
  };
  table.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    const cell = event.target.closest("td, th");
    if (!cell || !(event.key in moves || event.key === "Home" || event.key === "End")) return;
    const all = rows(), r = all.findIndex((row) => row.includes(cell)), c = cell.cellIndex;
    let next;
    if (event.key === "Home") next = all[r][0];
    else if (event.key === "End") next = all[r][all[r].length - 1];
    else {
      const row = all[r + moves[event.key][0]] || [], at = c + moves[event.key][1];
      next = row[moves[event.key][0] ? Math.min(at, row.length - 1) : at]; // a row may be one wide cell
    }
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    stop(next);
    target(next).focus();
  });
  table.addEventListener("focusin", (event) => {
    const cell = event.target.closest("td, th");
    if (cell) stop(cell);
  });
};

FB.isField = (node) => !!node.closest("input, select, textarea, button, a, [role=grid], summary");
