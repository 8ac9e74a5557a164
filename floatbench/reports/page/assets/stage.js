// The players of one clip: one transport bar, sound from one of them, all held within a frame of each other.
"use strict";

FB.stage = (function () {
  const RATE = 25;
  const HURRY = 0.4; // largest change of a follower's speed
  const NEAR = 0.008; // seconds of drift that are left alone
  const SETTLE = 150; // milliseconds between two changes of speed: each one costs the browser's clock some calm
  const FAR = 0.1; // seconds of drift beyond which all players stop and start again together
  const PATIENCE = 1000; // milliseconds between two such fresh starts, so that a slow machine still moves on
  const { methods, clips, media, states } = FB.data;
  const byId = FB.byId;
  const state = { clip: -1, chosen: [], players: [], sound: null, playing: false, frame: 0, frames: 1, wanted: null, token: 0, looked: 0, regrouped: 0 };
  const tracks = new FB.Tracks(byId("tracks"), (frame) => seek(frame));

  const middle = (frame) => (frame + 0.5) / RATE;
  const speed = () => Number(byId("speed").value);
  const master = () => state.players.find((p) => p.m === state.sound) || state.players[0];
  const frameOf = (video) => Math.min(state.frames - 1, Math.floor(video.currentTime * RATE + 1e-3));

  function defaults() {
    const wanted = [...methods.keys()].filter((m) => methods[m].name === "reference");
    const order = [...wanted, ...FB.systems, ...methods.keys()];
    return [...new Set(order)].slice(0, Math.max(2, Math.min(4, FB.systems.length + 1))).sort((a, b) => a - b);
  }

  function chooser() {
    const legend = byId("chosen").querySelector("legend");
    const changed = (event) => {
      const m = Number(event.target.value);
      state.chosen = event.target.checked ? [...state.chosen, m].sort((a, b) => a - b) : state.chosen.filter((x) => x !== m);
      draw();
    };
    byId("chosen").replaceChildren(legend, ...FB.methodBoxes(state.chosen, changed));
  }

  function open(c, m = null, scroll = true) {
    if (m !== null && !state.chosen.includes(m)) {
      state.chosen = [...state.chosen, m].sort((a, b) => a - b);
      chooser();
    }
    state.clip = c;
    byId("clip").value = String(c);
    if (scroll) {
      byId("compare").scrollIntoView();
      byId("clip").focus({ preventScroll: true });
    }
    return draw(0);
  }

  // Exactly what a link names: a clip, methods and a frame.
  function view(c, chosen, frame) {
    state.chosen = chosen;
    chooser();
    state.clip = c;
    byId("clip").value = String(c);
    return draw(frame);
  }

  async function draw(frame = state.frame) {
    const token = ++state.token;
    const c = state.clip;
    setPlaying(false);
    state.players.forEach((p) => {
      p.video.removeAttribute("src"); // gives the decoder back
      p.video.load();
    });
    const details = await FB.loadClip(c);
    if (token !== state.token) return;
    state.players = [];
    const shown = state.chosen.map((m, i) => ({ m, name: methods[m].name, colour: FB.COLOURS[i % FB.COLOURS.length], details: details[m] }));
    const cards = shown.map((entry) => card(entry, c));
    byId("stage").replaceChildren(...cards);
    byId("stage").dataset.count = String(cards.length);
    if (!state.players.some((p) => p.m === state.sound)) {
      const loud = state.players.find((p) => p.details && p.details.peaks.length) || state.players[0];
      state.sound = loud ? loud.m : null;
    }
    state.frames = Math.max(1, ...shown.map((entry) => (entry.details ? entry.details.frames : 1)));
    byId("seek").max = String(state.frames - 1);
    hear(state.sound);
    tracks.show(shown, state.frames, state.sound);
    const silent = cards.length ? "" : "Choose at least one method.";
    byId("stage-note").textContent = silent;
    byId("transport").classList.toggle("off", !state.players.length);
    await seek(Math.min(frame, state.frames - 1));
  }

  function card(entry, c) {
    const { m } = entry, found = media[m][c];
    const name = FB.el("span", { class: "name" }, FB.el("i", { class: "swatch", "data-line": entry.colour }), methods[m].name);
    const values = FB.el("p", { class: "chips" });
    FB.data.metrics.forEach((metric, v) => {
      const value = FB.data.values[m][v][c];
      if (value === null) return;
      const chip = FB.el("button", { type: "button", class: "chip" }, `${metric.column} `, FB.el("b", {}, FB.number(value)));
      FB.tip.attach(chip, () => FB.clipProvenance(m, v, c));
      values.append(chip);
    });
    if (!Array.isArray(found)) {
      const why = states[m][c] || found || "no video";
      return FB.el("figure", { class: "player" }, FB.el("div", { class: "empty" }, why), FB.el("figcaption", {}, name), values);
    }
    const video = FB.el("video", { playsinline: true, preload: "none", poster: found[1], "aria-label": `${methods[m].name}, ${clips[c].id}` });
    video.muted = true;
    const player = { m, video, details: entry.details, frame: 0, src: found[0] };
    const note = (_, metadata) => {
      player.frame = Math.round(metadata.mediaTime * RATE);
      figure.dataset.frame = String(player.frame);
      video.requestVideoFrameCallback(note);
    };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(note);
    const sound = FB.el("label", { class: "check sound" },
      FB.el("input", { type: "radio", name: "sound", value: m, onchange: () => hear(m) }), "sound");
    if (entry.details && !entry.details.peaks.length) sound.replaceChildren("no sound");
    const figure = FB.el("figure", { class: "player", "data-method": m }, video, FB.el("figcaption", {}, name, sound), values);
    video.addEventListener("click", toggle);
    video.addEventListener("error", () => (byId("stage-note").textContent = `${methods[m].name}: this browser cannot play ${found[0]}`));
    state.players.push(player);
    lazy.observe(figure);
    return figure;
  }

  // Media are read when the players come into view, not when the page opens.
  const lazy = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const player = state.players.find((p) => p.video.parentNode === entry.target);
      if (entry.isIntersecting && player) fetchVideo(player);
    }
  }, { rootMargin: "300px" });

  function fetchVideo(player) {
    if (player.video.hasAttribute("src")) return;
    player.video.preload = "auto";
    player.video.src = player.src;
    player.video.currentTime = middle(state.frame);
  }

  function hear(m) {
    state.sound = m;
    state.players.forEach((p) => (p.video.muted = p.m !== m || byId("mute").checked));
    const radio = byId("stage").querySelector(`input[name="sound"][value="${m}"]`);
    if (radio) radio.checked = true;
    const wave = state.players.find((p) => p.m === m);
    if (wave && tracks.lanes.length && tracks.lanes[0].wave && wave.details.peaks.length) {
      tracks.lanes[0].wave = wave.details.peaks;
      tracks.lanes[0].canvas.parentNode.querySelector("small").textContent = methods[m].name;
      tracks.draw();
    }
  }

  const ready = (video) => (video.readyState >= 2 ? Promise.resolve() : new Promise((resolve) => {
    ["loadeddata", "error"].forEach((event) => video.addEventListener(event, resolve, { once: true }));
  }));

  function place(video, time) {
    return ready(video).then(() => new Promise((resolve) => {
      if (video.error || Math.abs(video.currentTime - time) < 1e-4 && !video.seeking) return resolve();
      ["seeked", "error", "emptied"].forEach((event) => video.addEventListener(event, resolve, { once: true }));
      video.currentTime = time;
    }));
  }

  function show(frame) {
    state.frame = frame;
    byId("seek").value = String(frame);
    const seconds = frame / RATE;
    const text = `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")} · frame ${frame} of ${state.frames}`;
    byId("clock").textContent = text;
    byId("seek").setAttribute("aria-valuetext", text);
    tracks.move(frame);
  }

  // All players to the middle of one frame; while a seek is going on only the last wish is kept.
  async function seek(frame) {
    setPlaying(false);
    frame = Math.max(0, Math.min(state.frames - 1, Math.round(frame)));
    show(frame);
    FB.link.changed();
    if (state.wanted !== null) {
      state.wanted = frame;
      return;
    }
    state.wanted = frame;
    while (state.wanted !== null) {
      const goal = state.wanted;
      await Promise.all(state.players.filter((p) => p.video.hasAttribute("src")).map((p) => place(p.video, middle(goal))));
      if (state.wanted === goal) state.wanted = null;
    }
  }

  function setPlaying(on) {
    state.playing = on;
    if (!on) state.players.forEach((p) => p.video.pause());
    byId("play").textContent = on ? "❚❚" : "▶";
    byId("play").setAttribute("aria-label", on ? "Pause" : "Play");
  }

  async function toggle() {
    if (state.playing) {
      const frame = frameOf(master().video);
      await seek(frame);
      return;
    }
    if (!state.players.length) return;
    await play(state.frame >= state.frames - 1 ? 0 : state.frame);
  }

  async function play(from) {
    const token = state.token;
    state.players.forEach(fetchVideo);
    await seek(from);
    if (token !== state.token || state.playing) return;
    setPlaying(true);
    state.players.forEach((p) => (p.video.playbackRate = speed()));
    try {
      await Promise.all(state.players.filter((p) => !p.video.error).map((p) => p.video.play()));
    } catch {
      if (state.playing) setPlaying(false); // the browser wants a click first, or the clip was changed
      return;
    }
    state.looked = 0; // the first look corrects at once
    requestAnimationFrame(keepTogether);
  }

  function restart(frame) {
    setPlaying(false);
    play(frame);
  }

  // The player whose sound is heard leads; the others run a little faster or slower until they are with it.
  function keepTogether(now) {
    if (!state.playing) return;
    const lead = master().video;
    if (lead.ended || lead.currentTime >= state.frames / RATE - 1e-3) {
      if (byId("loop").checked) restart(0);
      else seek(state.frames - 1);
      return;
    }
    const running = state.players.map((p) => p.video).filter((video) => !video.ended && !video.error);
    const apart = running.some((video) => video.readyState < 3 || Math.abs(video.currentTime - lead.currentTime) > FAR);
    if (apart && now - state.regrouped > PATIENCE) {
      state.regrouped = now;
      restart(frameOf(lead));
      return;
    }
    if (now - state.looked > SETTLE) {
      state.looked = now;
      for (const video of running) {
        const drift = video === lead ? 0 : video.currentTime - lead.currentTime;
        const hurry = Math.abs(drift) < NEAR ? 0 : Math.max(-HURRY, Math.min(HURRY, -drift / (SETTLE / 1000) / speed()));
        const rate = Number((speed() * (1 + hurry)).toFixed(2));
        if (video.playbackRate !== rate) video.playbackRate = rate;
      }
    }
    const frame = frameOf(lead);
    if (frame !== state.frame) show(frame);
    requestAnimationFrame(keepTogether);
  }

  function step(by) {
    const from = state.playing ? frameOf(master().video) : state.frame;
    return seek(from + by);
  }

  const neighbour = (by) => open((state.clip + by + clips.length) % clips.length, null, false);

  function keys(event) {
    if (FB.area !== "stage" || event.ctrlKey || event.metaKey || event.altKey || FB.isField(event.target)) return;
    const actions = { " ": toggle, ",": () => step(-1), ".": () => step(1), Home: () => seek(0), "[": () => neighbour(-1), "]": () => neighbour(1) };
    const player = state.players[Number(event.key) - 1];
    if (/^[1-9]$/.test(event.key) && player) hear(player.m);
    else if (event.key in actions) actions[event.key]();
    else return;
    event.preventDefault();
  }

  function start() {
    state.chosen = defaults();
    byId("clip").append(...clips.map((clip, c) => FB.el("option", { value: c }, clip.id)));
    byId("clip").addEventListener("change", () => open(Number(byId("clip").value), null, false));
    byId("clip-before").addEventListener("click", () => neighbour(-1));
    byId("clip-after").addEventListener("click", () => neighbour(1));
    byId("play").addEventListener("click", toggle);
    byId("back").addEventListener("click", () => step(-1));
    byId("forward").addEventListener("click", () => step(1));
    byId("seek").addEventListener("input", () => seek(Number(byId("seek").value)));
    byId("mute").addEventListener("change", () => hear(state.sound));
    document.addEventListener("keydown", keys);
    chooser();
    if (FB.link.follow()) return;
    const withVideo = clips.findIndex((_, c) => media.some((row) => Array.isArray(row[c])));
    open(Math.max(0, withVideo), null, false);
  }

  return { start, open, view, seek, toggle, pause: () => state.playing && seek(state.frame), state };
})();
