// Mean opinion scores: one video at a time, 1 to 5 on each question, order by lot, attention checks among the questions.
"use strict";

FB.rate = (function () {
  const { methods, clips, media, runs } = FB.data;
  const byId = FB.byId;
  const KEY = `floatbench-ratings-${runs[0].protocol_hash.slice(0, 12)}`;
  const EVERY = 8; // videos with one attention check among them
  const SCALE = ["1 bad", "2", "3", "4", "5 excellent"];
  const QUESTIONS = {
    sync: "Do the lips fit the sound?",
    motion: "Does the head move naturally?",
    identity: "Does it look like one and the same person throughout?",
    quality: "How good is the picture?",
    overall: "How good is the video overall?",
  };
  const state = { items: [], at: 0, ratings: [], shown: 0, questions: [], session: null };

  function shuffle(list, random) {
    for (let i = list.length - 1; i > 0; i -= 1) {
      const j = Math.floor(random() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  }

  // Every video once; one in each block of EVERY also asks for a number that is named.
  function draw(chosen, random) {
    const items = shuffle(clips.flatMap((_, c) => chosen.filter((m) => Array.isArray(media[m][c])).map((m) => ({ c, m }))), random);
    for (let start = 0; start < items.length; start += EVERY) {
      const size = Math.min(EVERY, items.length - start);
      const item = items[start + Math.floor(random() * size)];
      item.wanted = 1 + Math.floor(random() * 5);
      item.place = Math.floor(random() * (Object.keys(QUESTIONS).length + 1));
    }
    return items;
  }

  function begin() {
    const chosen = [...byId("vote-methods").querySelectorAll("input:checked")].map((box) => Number(box.value));
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    const random = FB.vote.lot(seed);
    state.items = draw(chosen, random);
    state.questions = shuffle(Object.keys(QUESTIONS), random);
    byId("rate-booth").hidden = false;
    if (!state.items.length) {
      byId("rate-count").textContent = "No clip has a video of these methods.";
      return;
    }
    Object.assign(state, { at: 0, ratings: [], session: { seed, voter: byId("voter").value.trim() } });
    byId("rate-begin").hidden = true;
    FB.area = "vote";
    FB.stage.pause();
    document.querySelectorAll("#vote-booth video").forEach((video) => video.pause());
    show();
  }

  function ask(name, text) {
    const choices = SCALE.map((word, i) => FB.el("label", { class: "check" },
      FB.el("input", { type: "radio", name: `rate-${name}`, value: i + 1, onchange: ready }), word));
    return FB.el("fieldset", {}, FB.el("legend", {}, text), ...choices);
  }

  function show() {
    const item = state.items[state.at], video = byId("rate-video");
    video.pause();
    byId("rate-again").disabled = !item;
    byId("rate-export").disabled = !state.ratings.length;
    byId("rate-next").disabled = true;
    byId("rate-count").textContent = item ? `video ${state.at + 1} of ${state.items.length}` : `All ${state.ratings.length} videos are rated: save the ratings.`;
    byId("rate-questions").replaceChildren();
    if (!item) {
      ["src", "poster"].forEach((name) => video.removeAttribute(name));
      return;
    }
    const asked = state.questions.map((name) => ask(name, QUESTIONS[name]));
    if (item.wanted) asked.splice(item.place, 0, ask("check", `To show that you read the questions, choose ${item.wanted} here.`));
    byId("rate-questions").append(...asked);
    [video.src, video.poster] = media[item.m][item.c];
    state.shown = performance.now();
    play();
  }

  function play() {
    const video = byId("rate-video");
    video.currentTime = 0;
    video.play().catch(() => {}); // another video came, or the browser wants a click first
  }

  const given = (name) => {
    const chosen = byId("rate-questions").querySelector(`input[name="rate-${name}"]:checked`);
    return chosen ? Number(chosen.value) : null;
  };

  function ready() {
    const names = [...state.questions, ...(state.items[state.at].wanted ? ["check"] : [])];
    byId("rate-next").disabled = !names.every((name) => given(name));
  }

  function next() {
    const item = state.items[state.at];
    state.ratings.push({
      clip: clips[item.c].id, method: methods[item.m].name,
      scores: Object.fromEntries(state.questions.map((name) => [name, given(name)])),
      check: item.wanted ? { wanted: item.wanted, given: given("check") } : null,
      seconds: Math.round(performance.now() - state.shown) / 1000,
    });
    state.at += 1;
    FB.vote.kept(KEY, exported());
    show();
    byId("rate-count").scrollIntoView({ block: "nearest" });
  }

  const exported = () => ({
    kind: "floatbench-ratings", schema_version: 1, protocol: runs[0].label, protocol_hash: runs[0].protocol_hash,
    voter: state.session.voter, seed: state.session.seed, order: state.questions, ratings: state.ratings,
  });

  const save = (found) => FB.vote.save(found, `ratings-${FB.vote.safe(found.voter)}.json`);

  function start() {
    byId("rate-begin").addEventListener("click", begin);
    byId("rate-again").addEventListener("click", play);
    byId("rate-next").addEventListener("click", next);
    byId("rate-export").addEventListener("click", () => save(exported()));
    const before = FB.vote.kept(KEY);
    if (before && before.ratings && before.ratings.length) {
      byId("rate-start").append(FB.el("button", { type: "button", onclick: () => save(before) }, `Save the ${before.ratings.length} ratings of last time`));
    }
  }

  return { start, state };
})();
