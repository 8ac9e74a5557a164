// Two videos side by side in step: what one does (play, pause, seek, speed), the other does at the same moment.
(() => {
  "use strict";
  const LIMIT = 0.08; // seconds apart before the follower is moved: two frames
  let leader = null; // whose events are being copied; the other one's echoes are ignored

  const others = (video) => {
    const box = video.closest(".fb-step");
    return box ? [...box.querySelectorAll("video")].filter((one) => one !== video && one.src) : [];
  };
  const follow = (event) => {
    const video = event.target;
    if (!(video instanceof HTMLVideoElement)) return;
    if (event.type === "play" && event.isTrusted && (!leader || leader.paused || leader.ended)) leader = video;
    for (const other of others(video)) {
      if (event.type === "play") {
        if (Math.abs(other.currentTime - video.currentTime) > LIMIT) other.currentTime = video.currentTime;
        if (other.paused) other.play().catch(() => {});
      } else if (event.type === "pause") {
        if (!other.paused && !video.ended) other.pause();
      } else if (event.type === "ratechange") {
        if (other.playbackRate !== video.playbackRate) other.playbackRate = video.playbackRate;
      } else if (event.type === "seeking" || (event.type === "timeupdate" && video === leader)) {
        if (!other.seeking && !other.ended && Math.abs(other.currentTime - video.currentTime) > LIMIT)
          other.currentTime = video.currentTime;
      }
    }
  };
  for (const type of ["play", "pause", "seeking", "ratechange", "timeupdate"])
    document.addEventListener(type, follow, true);
  // the button: both from the beginning, the second one silent, since two voices at once cannot be told apart
  window.floatbenchPlayBoth = () => {
    const videos = [...document.querySelectorAll(".fb-step video")].filter((one) => one.src);
    videos.forEach((video, index) => {
      video.muted = index > 0;
      video.currentTime = 0;
    });
    if (videos.length) videos[0].play().catch(() => {});
  };
})();
