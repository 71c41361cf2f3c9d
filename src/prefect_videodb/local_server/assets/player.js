// Plays the stream named by the video element: with hls.js where media source extensions exist, else natively (Safari on iOS).
"use strict";

const video = document.getElementById("video");
const problem = document.getElementById("problem");

function fail(message) {
  problem.textContent = message;
  problem.hidden = false;
}

function play() {
  const stream = video.dataset.stream;
  if (window.Hls && Hls.isSupported()) {
    // Its worker would be made from a blob of script, which the page's policy does not run.
    const hls = new Hls({ enableWorker: false });
    hls.on(Hls.Events.ERROR, (_event, data) => {
      if (!data.fatal) return;
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR) {
        hls.recoverMediaError();
      } else {
        hls.destroy();
        fail("The video cannot be loaded. It may have been deleted, or the server is not running.");
      }
    });
    hls.loadSource(stream);
    hls.attachMedia(video);
  } else if (video.canPlayType("application/vnd.apple.mpegurl")) {
    video.addEventListener("error", () => fail("The video cannot be played."));
    video.src = stream;
  } else {
    fail("This browser cannot play HLS video.");
  }
}

play();
