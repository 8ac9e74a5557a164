// Blind two-choice votes: sides and order by lot, names hidden, kept in the browser, saved as JSON.
"use strict";

FB.vote = (function () {
  const { methods, clips, media, runs } = FB.data;
  const byId = FB.byId;
  const KEY = `floatbench-votes-${runs[0].protocol_hash.slice(0, 12)}`;
  const state = { pairs: [], at: 0, votes: [], shown: 0, turn: 0, session: null };

  // Mulberry32: a small generator, so that the order can be drawn again from the seed in the votes.
  function lot(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  function draw(chosen, seed) {
    const random = lot(seed);
    const pairs = [];
    clips.forEach((_, c) => {
      const there = chosen.filter((m) => Array.isArray(media[m][c]));
      there.forEach((a, i) => there.slice(i + 1).forEach((b) => pairs.push(random() < 0.5 ? { c, left: a, right: b } : { c, left: b, right: a })));
    });
    for (let i = pairs.length - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [pairs[i], pairs[j]] = [pairs[j], pairs[i]];
    }
    return pairs;
  }

  const kept = (key, document) => {
    try {
      if (document) localStorage.setItem(key, JSON.stringify(document));
      return JSON.parse(localStorage.getItem(key) || "null");
    } catch {
      return null; // storage is forbidden: votes last as long as the page
    }
  };

  function begin() {
    const chosen = [...byId("vote-methods").querySelectorAll("input:checked")].map((box) => Number(box.value));
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    state.pairs = draw(chosen, seed);
    if (!state.pairs.length) {
      byId("vote-count").textContent = "";
      byId("vote-ask").textContent = "No clip has videos of two of these methods.";
      byId("vote-booth").hidden = false;
      return;
    }
    state.votes = [];
    state.at = 0;
    state.session = { seed, question: byId("vote-question").value, voter: byId("voter").value.trim() };
    byId("vote-ask").textContent = byId("vote-question").selectedOptions[0].text;
    byId("vote-start").hidden = true;
    byId("vote-booth").hidden = false;
    FB.area = "vote";
    FB.stage.pause();
    byId("rate-video").pause();
    showPair();
    byId("vote-again").focus();
  }

  function showPair() {
    const pair = state.pairs[state.at];
    const done = !pair;
    ["pick-left", "pick-right", "pick-tie", "vote-again"].forEach((id) => (byId(id).disabled = done));
    byId("vote-undo").disabled = !state.votes.length;
    byId("vote-export").disabled = !state.votes.length;
    byId("vote-count").textContent = done ? `All ${state.votes.length} pairs are judged: save the votes.` : `pair ${state.at + 1} of ${state.pairs.length}`;
    for (const side of ["left", "right"]) {
      const video = byId(`vote-${side}`);
      video.pause();
      if (done) ["src", "poster"].forEach((name) => video.removeAttribute(name));
      else [video.src, video.poster] = media[pair[side]][pair.c]; // the poster stands while the other one plays
    }
    if (done) return;
    state.shown = performance.now();
    playBoth();
  }

  // One after the other, each with its own sound; which one is left was drawn by lot.
  async function playBoth() {
    const turn = ++state.turn;
    for (const side of ["left", "right"]) {
      const video = byId(`vote-${side}`), other = byId(side === "left" ? "vote-right" : "vote-left");
      other.pause();
      video.muted = false;
      video.currentTime = 0;
      const ended = new Promise((resolve) => video.addEventListener("ended", resolve, { once: true }));
      try {
        await video.play();
      } catch {
        return; // another pair came, or the browser wants a click first
      }
      await ended;
      if (turn !== state.turn) return;
    }
  }

  function pick(choice) {
    const pair = state.pairs[state.at];
    if (!pair) return;
    state.votes.push({
      clip: clips[pair.c].id, left: methods[pair.left].name, right: methods[pair.right].name, choice,
      seconds: Math.round(performance.now() - state.shown) / 1000,
    });
    state.at += 1;
    kept(KEY, exported());
    showPair();
  }

  function undo() {
    if (!state.votes.length) return;
    state.votes.pop();
    state.at -= 1;
    showPair();
  }

  const exported = () => ({
    kind: "floatbench-votes", schema_version: 1, protocol: runs[0].label, protocol_hash: runs[0].protocol_hash,
    question: state.session.question, voter: state.session.voter, seed: state.session.seed, votes: state.votes,
  });

  const safe = (voter) => voter.replace(/[^\w-]+/g, "_") || "anonymous";

  function save(document_, name = `votes-${safe(document_.voter)}-${document_.question}.json`) {
    const url = URL.createObjectURL(new Blob([JSON.stringify(document_, null, 2) + "\n"], { type: "application/json" }));
    const link = FB.el("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  function keys(event) {
    if (FB.area !== "vote" || byId("vote-booth").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select")) return;
    const actions = { ArrowLeft: () => pick("left"), ArrowRight: () => pick("right"), ArrowDown: () => pick("tie"), Backspace: undo, " ": playBoth };
    if (!(event.key in actions) || (event.key === " " && event.target.closest("button"))) return;
    event.preventDefault();
    actions[event.key]();
  }

  function start() {
    const first = FB.systems.length >= 2 ? FB.systems : [...methods.keys()].filter((m) => FB.systems.includes(m) || methods[m].name === "reference");
    byId("vote-methods").append(...FB.methodBoxes(first, () => {}));
    byId("vote-begin").addEventListener("click", begin);
    byId("pick-left").addEventListener("click", () => pick("left"));
    byId("pick-right").addEventListener("click", () => pick("right"));
    byId("pick-tie").addEventListener("click", () => pick("tie"));
    byId("vote-again").addEventListener("click", playBoth);
    byId("vote-undo").addEventListener("click", undo);
    byId("vote-export").addEventListener("click", () => save(exported()));
    for (const side of ["left", "right"]) byId(`vote-${side}`).addEventListener("click", (event) => {
      state.turn += 1;
      byId(side === "left" ? "vote-right" : "vote-left").pause();
      event.target.muted = false;
      event.target.currentTime = 0;
      event.target.play();
    });
    document.addEventListener("keydown", keys);
    const before = kept(KEY);
    if (before && before.votes && before.votes.length) {
      byId("vote-start").append(FB.el("button", { type: "button", id: "vote-rescue", onclick: () => save(before) }, `Save the ${before.votes.length} votes of last time`));
    }
  }

  return { start, state, lot, kept, save, safe };
})();
