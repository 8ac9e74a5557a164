// The address of what is seen: #section?clip=...&method=...&t=seconds, kept up to date and followed when it is opened.
"use strict";

FB.link = (function () {
  const RATE = 25;
  const LATER = 300; // milliseconds of quiet before the address is written: browsers allow few changes a second
  const { methods, clips } = FB.data;
  const sections = [...document.querySelectorAll("nav a")].map((a) => a.hash.slice(1));
  const state = { section: "", timer: 0, following: false };

  function parsed() {
    const [section, query = ""] = location.hash.slice(1).split("?");
    const wanted = new URLSearchParams(query);
    const c = clips.findIndex((clip) => clip.id === wanted.get("clip"));
    const names = wanted.getAll("method");
    const chosen = [...methods.keys()].filter((m) => names.includes(methods[m].name));
    const seconds = Number(wanted.get("t"));
    return { set: wanted.get("set"), section: sections.includes(section) ? section : "", c, chosen, frame: Number.isFinite(seconds) ? Math.round(seconds * RATE) : 0 };
  }

  function address() {
    const { clip, chosen, frame } = FB.stage.state;
    const query = new URLSearchParams();
    if (clip >= 0) query.set("clip", clips[clip].id);
    chosen.forEach((m) => query.append("method", methods[m].name));
    query.set("t", (frame / RATE).toFixed(2));
    if (FB.sets.name()) query.set("set", FB.sets.name());
    return `#${state.section || "scores"}?${query}`;
  }

  function write() {
    clearTimeout(state.timer);
    state.timer = 0;
    try {
      history.replaceState(null, "", address());
    } catch {
      return; // too many changes, or a browser that forbids it here: the next one is tried again
    }
  }

  function changed() {
    if (state.following) return;
    clearTimeout(state.timer);
    state.timer = setTimeout(write, LATER);
  }

  // Shows what the address names; false when it names no clip of this page.
  function follow() {
    const wanted = parsed();
    if (wanted.section) {
      state.section = wanted.section;
      here();
    }
    FB.sets.open(wanted.set);
    if (wanted.c < 0) return false;
    const chosen = wanted.chosen.length ? wanted.chosen : FB.stage.state.chosen;
    state.following = true;
    FB.stage.view(wanted.c, chosen, wanted.frame).finally(() => {
      if (wanted.section) FB.byId(wanted.section).scrollIntoView({ behavior: "instant" }); // where the parts above put it
      state.following = false;
    });
    return true;
  }

  function here() {
    document.querySelectorAll("nav a").forEach((a) => {
      if (a.hash.slice(1) === state.section) a.setAttribute("aria-current", "true");
      else a.removeAttribute("aria-current");
    });
  }

  function start() {
    window.addEventListener("hashchange", () => follow() || changed());
    FB.sets.onChange(changed);
    FB.byId("copy-link").addEventListener("click", (event) => {
      state.section = "compare";
      write();
      FB.copy(event.currentTarget, location.href);
    });
    const line = new IntersectionObserver((entries) => {
      const entered = entries.filter((entry) => entry.isIntersecting).pop();
      if (!entered || state.following) return;
      state.section = entered.target.id;
      here();
      changed();
    }, { rootMargin: "-30% 0px -69% 0px" });
    sections.forEach((id) => line.observe(FB.byId(id)));
  }

  return { start, follow, changed, state };
})();
