// Waveform and per-frame tracks as canvases with a cursor; a click or drag moves all players.
"use strict";

FB.COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6", "--line-7", "--line-8"];

FB.Tracks = class {
  constructor(box, onSeek) {
    this.box = box;
    this.onSeek = onSeek;
    this.lanes = [];
    this.frames = 1;
    this.cursor = 0;
    new ResizeObserver(() => this.draw()).observe(box);
    FB.theme.onChange(() => this.draw());
  }

  // shown: [{m, name, colour (css variable), details}]; one lane for the sound and one for each kind of track.
  show(shown, frames, sound) {
    this.frames = Math.max(1, frames);
    this.lanes = [];
    const absent = new Map();
    const loud = shown.find((entry) => entry.m === sound && entry.details && entry.details.peaks.length);
    const peaks = loud || shown.find((entry) => entry.details && entry.details.peaks.length);
    if (peaks) this.lanes.push({ label: "sound", unit: peaks.name, wave: peaks.details.peaks, lines: [] });
    else absent.set("waveform", "the sound is not in this page");
    const byLabel = new Map();
    for (const entry of shown) {
      if (!entry.details) continue;
      for (const track of entry.details.tracks) {
        if (!byLabel.has(track.label)) byLabel.set(track.label, { label: track.label, unit: track.unit || track.from, lines: [], kind: track.kind });
        byLabel.get(track.label).lines.push({ ...track, name: entry.name, colour: entry.colour, m: entry.m });
      }
      for (const [label, needed] of Object.entries(entry.details.absent)) absent.set(label, `the run holds no track of ${needed}`);
    }
    const kinds = ["sync", "csim", "mouth", "head"];
    const rank = (lane) => (kinds.includes(lane.kind) ? kinds.indexOf(lane.kind) : kinds.length);
    this.lanes.push(...[...byLabel.values()].sort((a, b) => rank(a) - rank(b)));
    for (const lane of this.lanes) {
      const points = lane.lines.flatMap((line) => line.values.filter((x) => x !== null));
      lane.low = points.length ? Math.min(...points) : 0;
      lane.high = points.length ? Math.max(...points) : 1;
      if (points.length) lane.unit = `${lane.unit}, ${FB.number(lane.low)} to ${FB.number(lane.high)}`; // beside the lines, not across
      if (lane.low === lane.high) [lane.low, lane.high] = [lane.low - 0.5, lane.high + 0.5];
      this._tellEqualApart(lane);
      lane.canvas = FB.el("canvas", { "aria-hidden": "true" });
      lane.value = FB.el("span", { class: "at" });
      this._drag(lane.canvas);
    }
    const extra = this.lanes.filter((lane) => !lane.wave && !lane.kind);
    const main = this.lanes.filter((lane) => !extra.includes(lane));
    const figure = (lane) => FB.el("figure", { class: "lane" },
      FB.el("figcaption", {}, FB.el("strong", {}, lane.label), FB.el("small", {}, lane.unit), lane.value,
        lane.equal.length ? FB.el("small", { class: "equal" }, `equal, in dashes: ${lane.equal.join("; ")}`) : null), lane.canvas);
    const parts = main.map(figure);
    if (extra.length) parts.push(FB.el("details", { ontoggle: () => this.draw() }, FB.el("summary", {}, `${extra.length} more tracks`), ...extra.map(figure)));
    if (absent.size) parts.push(FB.el("p", { class: "notes" }, "Absent: " + [...absent].map(([label, why]) => `${label} (${why})`).join("; ") + "."));
    this.box.replaceChildren(...parts);
    this.draw();
  }

  // Lines that lie on each other take turns in dashes, and the legend says which they are.
  _tellEqualApart(lane) {
    const near = (lane.high - lane.low) / 100;
    const at = (line, frame) => line.values[frame - line.start] ?? null;
    const same = (a, b) => {
      for (let frame = 0; frame < this.frames; frame += 1) {
        const x = at(a, frame), y = at(b, frame);
        if ((x === null) !== (y === null) || (x !== null && Math.abs(x - y) > near)) return false;
      }
      return true;
    };
    const groups = [];
    for (const line of lane.lines) {
      const group = groups.find((other) => same(other[0], line));
      if (group) group.push(line);
      else groups.push([line]);
    }
    for (const group of groups) group.forEach((line, i) => Object.assign(line, { turn: i, turns: group.length }));
    lane.equal = groups.filter((group) => group.length > 1).map((group) => group.map((line) => line.name).join(" = "));
  }

  _drag(canvas) {
    const go = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.onSeek(Math.min(this.frames - 1, Math.floor(share * this.frames)));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && go(event));
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    for (const lane of this.lanes) {
      const width = lane.canvas.clientWidth, height = lane.canvas.clientHeight;
      if (!width) continue; // inside a closed <details>
      lane.canvas.width = width * ratio;
      lane.canvas.height = height * ratio;
      const pen = lane.canvas.getContext("2d");
      pen.scale(ratio, ratio);
      if (lane.wave) this._wave(pen, lane, width, height);
      else this._lines(pen, lane, width, height);
      lane.picture = document.createElement("canvas"); // what is under the cursor, so that moving it costs one copy
      lane.picture.width = lane.canvas.width;
      lane.picture.height = lane.canvas.height;
      lane.picture.getContext("2d").drawImage(lane.canvas, 0, 0);
    }
    this.move(this.cursor);
  }

  _wave(pen, lane, width, height) {
    pen.fillStyle = FB.colour("--muted");
    const step = width / (this.frames * 2);
    lane.wave.forEach((peak, i) => {
      const half = Math.max(0.5, (peak / 100) * (height / 2 - 1));
      pen.fillRect(i * step, height / 2 - half, Math.max(0.6, step * 0.8), 2 * half);
    });
  }

  _lines(pen, lane, width, height) {
    const y = (value) => height - 4 - ((value - lane.low) / (lane.high - lane.low)) * (height - 8);
    pen.lineWidth = 1.5;
    const DASH = 7; // pixels of each of several equal lines
    for (const line of lane.lines) {
      pen.strokeStyle = FB.colour(line.colour);
      pen.setLineDash(line.turns > 1 ? [DASH, DASH * (line.turns - 1)] : []);
      pen.lineDashOffset = -DASH * line.turn;
      pen.beginPath();
      let open = false;
      line.values.forEach((value, i) => {
        if (value === null) {
          open = false;
          return;
        }
        const x = ((line.start + i + 0.5) / this.frames) * width;
        if (open) pen.lineTo(x, y(value));
        else pen.moveTo(x, y(value));
        open = true;
      });
      pen.stroke();
    }
  }

  move(frame) {
    this.cursor = frame;
    for (const lane of this.lanes) {
      if (!lane.picture) continue;
      const pen = lane.canvas.getContext("2d");
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, lane.canvas.width, lane.canvas.height);
      pen.drawImage(lane.picture, 0, 0);
      const x = ((frame + 0.5) / this.frames) * lane.canvas.width;
      pen.fillStyle = FB.colour("--accent");
      pen.fillRect(Math.round(x) - 1, 0, 2, lane.canvas.height);
      const read = lane.lines.map((line) => {
        const value = line.values[frame - line.start];
        return FB.el("span", {}, FB.el("i", { class: "swatch", "data-line": line.colour }), `${line.name} `,
          FB.el("b", {}, value === undefined || value === null ? "–" : FB.number(value)));
      });
      lane.value.replaceChildren(...read);
    }
  }
};
