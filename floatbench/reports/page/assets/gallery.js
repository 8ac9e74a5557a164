// The worst clips of each metric, the rules that the controls keep or break, and the response matrix.
"use strict";

FB.gallery = function () {
  const { metrics, methods, values, clips, media } = FB.data;
  const SHOWN = 8;
  const has = (v) => values.some((row) => row[v].some((x) => x !== null));
  const usable = metrics.map((_, v) => v).filter(has);
  const metricBox = FB.byId("worst-metric"), methodBox = FB.byId("worst-method");
  metricBox.append(...usable.map((v) => FB.el("option", { value: v }, `${metrics[v].column} · ${metrics[v].id}`)));
  const everybody = FB.systems.length ? FB.systems : methods.map((_, m) => m);
  methodBox.append(FB.el("option", { value: "" }, FB.systems.length ? "all systems" : "all controls"),
    ...FB.methodOptions());
  const reference = methods.findIndex((method) => method.name === "reference");
  if (!FB.systems.length && reference >= 0) methodBox.value = String(reference);
  const none = metrics.filter((_, v) => !has(v)).map((metric) => metric.id);
  const note = FB.byId("worst-note");
  const distributions = none.length ? `A distance between distributions has no value for one clip: ${none.join(", ")}.` : "";
  note.textContent = distributions;
  const draw = () => {
    if (!usable.length) return;
    const v = Number(metricBox.value);
    const among = methodBox.value === "" ? everybody : [Number(methodBox.value)];
    const all = among.flatMap((m) => values[m][v].map((value, c) => [value, m, c])).filter(([value]) => value !== null);
    const seen = all.filter(([, m, c]) => Array.isArray(media[m][c])), unseen = all.length - seen.length;
    seen.sort((a, b) => FB.compare(a[0], b[0], metrics[v].higher) || a[2] - b[2]);
    note.textContent = [distributions, unseen ? `Only clips with a video are shown: ${unseen} of ${all.length} have none in this page.` : ""].filter(Boolean).join(" ");
    FB.byId("worst-list").replaceChildren(...seen.slice(0, SHOWN).map(([value, m, c]) => {
      const picture = FB.el("img", { src: media[m][c][1], alt: "", loading: "lazy", width: 96, height: 96 });
      const number = FB.el("button", { type: "button", class: "chip" }, FB.el("b", {}, FB.number(value)));
      FB.tip.attach(number, () => FB.clipProvenance(m, v, c));
      return FB.el("li", {}, FB.el("button", { type: "button", class: "pick", "aria-label": `Compare ${clips[c].id}, ${methods[m].name}`, onclick: () => FB.stage.open(c, m) },
        picture, FB.el("span", { class: "name" }, clips[c].id), FB.el("small", {}, methods[m].name)), number);
    }));
  };
  metricBox.addEventListener("change", draw);
  methodBox.addEventListener("change", draw);
  draw();
};

FB.matrix = function () {
  const { runs, matrix } = FB.data;
  const checks = runs.flatMap((run) => run.controls);
  const held = checks.filter((check) => check.held).length;
  const rules = FB.byId("control-rules");
  if (!checks.length) rules.append(FB.el("p", { class: "notes" }, "No control with a known answer was run."));
  else {
    const list = FB.el("ul", { class: "rules" }, ...checks.map((check) =>
      FB.el("li", { class: check.held ? "held" : "broken" }, FB.el("b", {}, check.held ? "keeps" : "BREAKS"), ` ${check.metric}: ${check.rule} `, FB.el("small", {}, check.detail))));
    rules.append(FB.el("details", { open: held < checks.length }, FB.el("summary", {}, `Controls with known answers: ${held} of ${checks.length} rules are kept`), list));
  }
  const box = FB.byId("matrix-table");
  if (!matrix) {
    box.append(FB.el("p", { class: "notes" }, "No response matrix was given: ", FB.el("code", {}, "floatbench metrics check --out DIR"), " makes one, ", FB.el("code", {}, "--matrix DIR/matrix.json"), " shows it here."));
    return;
  }
  const columns = [...new Set(matrix.responses.map((cell) => cell.metric))];
  const rows = [...new Set(matrix.responses.map((cell) => cell.damage))];
  const found = new Map(matrix.responses.map((cell) => [`${cell.damage}\n${cell.metric}`, cell]));
  const grid = FB.grid("Response of each metric to each damage", [{ text: "damage" }, ...columns.map((text) => ({ text }))], () => {});
  grid.table.querySelector("th").setAttribute("tabindex", "0");
  for (const damage of rows) {
    grid.body.append(FB.el("tr", {}, FB.el("th", { scope: "row", tabindex: -1 }, damage), ...columns.map((metric) => {
      const cell = found.get(`${damage}\n${metric}`);
      const share = cell ? cell.share : null;
      const text = share === null ? "n/a" : cell.direction === "none" ? "·" : (share > 0 ? "+" : "") + share.toFixed(2);
      const level = share === null ? 0 : Math.round(Math.min(1, Math.abs(share)) * 5);
      const td = FB.el("td", { class: "num heat", tabindex: -1, "data-heat": level ? `${share > 0 ? "worse" : "better"}-${level}` : null }, text);
      if (cell) FB.tip.attach(td, () => [["metric", metric], ["damage", damage], ["direction", cell.direction], ["share of its widest move", share],
        ["strengths", cell.strengths.join(", ")], ["scores", cell.scores.map(FB.number).join(", ")], ["without damage", FB.number(cell.clean)],
        ["monotonicity", cell.monotonicity === null ? "flat" : cell.monotonicity]]);
      return td;
    })));
  }
  box.append(grid.box, FB.el("p", { class: "notes" }, `${matrix.protocol}: ${matrix.clips.length} clips of up to ${matrix.frames} frames. + says worse, − better, as a share of the metric's widest move; · no reaction. ` +
    matrix.shifts.map((shift) => `${shift.metric}: planted sound shifts found within ${shift.largest_error === null ? "nothing" : shift.largest_error} frames`).join("; ")));
};

FB.about = function () {
  const box = FB.byId("about-body");
  for (const run of FB.data.runs) {
    const lines = [["run", run.name], ["protocol", `${run.label}, hash ${run.protocol_hash}`], ["clips", `${run.available} of ${run.clips}`], ["seed", run.seed],
      ["replicates", run.replicates], ["ranked", run.ranked ? "yes" : `no: ${run.unranked_because.join("; ")}`], ["clips say", run.notes.join("; ")], ...FB.environmentLines(run.environment),
      ["platform", `${run.environment.platform || ""}, Python ${run.environment.python || "?"}`]];
    const list = FB.el("dl", { class: "facts" });
    lines.forEach(([name, value]) => value !== "" && value !== undefined && list.append(FB.el("dt", {}, name), FB.el("dd", {}, String(value))));
    const table = FB.el("table", {}, FB.el("thead", {}, FB.el("tr", {}, ...["used by", "weights", "licence", "commercial use"].map((text) => FB.el("th", { scope: "col" }, text)))),
      FB.el("tbody", {}, ...run.licences.map((item) => FB.el("tr", {}, ...[item.used_by, item.weights, item.licence, item.commercial ? "clearly allowed" : "not clearly allowed"].map((text) => FB.el("td", {}, text))))));
    box.append(list, run.licences.length ? FB.el("div", { class: "scroll" }, table) : "");
  }
  box.append(FB.el("p", { class: "notes" }, "Videos here are H.264 copies for viewing; their metadata name system, settings and whether they are synthetic. Scores were made from the frames before this copy, whose hashes were compared."));
};
