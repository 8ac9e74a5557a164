// Starts the parts; what is far down the page waits until the browser has time.
"use strict";

FB.area = "stage";
document.addEventListener("focusin", (event) => (FB.area = event.target.closest("#vote") ? "vote" : "stage"));
document.addEventListener("pointerdown", (event) => {
  if (event.target.closest("#vote")) FB.area = "vote";
  else if (event.target.closest("section")) FB.area = "stage";
});

FB.link.start();
FB.scoreTable();
FB.stage.start();
FB.gallery();
FB.clipTable();
FB.matrix();
FB.vote.start();
FB.rate.start();
FB.about();
document.documentElement.dataset.ready = "yes";
performance.mark("floatbench-ready");
