// One sound at a time; a line in the drawing shows where it is, and a click there goes there; and all can be heard in a row.
const players = [...document.querySelectorAll("audio")];

function between(pairs, value, from, to) {
  const after = Math.max(1, pairs.findIndex((pair) => pair[from] >= value));
  const [a, b] = [pairs[after - 1], pairs[after]];
  return a[to] + (b[to] - a[to]) * Math.min(1, Math.max(0, (value - a[from]) / (b[from] - a[from] || 1)));
}

function follow(player, drawing) {
  const times = JSON.parse(drawing.dataset.times), width = times.at(-1)[0];
  const head = drawing.appendChild(document.createElement("div"));
  head.className = "head";
  head.hidden = true;
  const move = () => {
    head.hidden = false;
    head.style.left = `${100 * between(times, player.currentTime, 1, 0) / width}%`;
    if (!player.paused) requestAnimationFrame(move);
  };
  for (const event of ["play", "seeked"]) player.addEventListener(event, move);
  drawing.addEventListener("click", (event) => {
    const place = drawing.getBoundingClientRect();
    player.currentTime = between(times, width * (event.clientX - place.left) / place.width, 0, 1);
  });
}

let inARow = false;
players.forEach((player, i) => {
  const drawing = player.closest("article").querySelector("[data-times]");
  if (drawing) follow(player, drawing);
  player.addEventListener("play", () => players.forEach((other) => other === player || other.pause()));
  player.addEventListener("ended", () => {
    if (inARow && i + 1 in players) players[i + 1].play();
    else inARow = false;
  });
  player.addEventListener("error", () => {
    const gone = document.createElement("p");
    gone.textContent = "The sound cannot be played: its file is missing or damaged.";
    player.replaceWith(gone);
  });
});

const all = document.querySelector("#all");
if (all && players.length > 1) {
  all.hidden = false;
  all.addEventListener("click", () => {
    const playing = players.find((player) => !player.paused);
    inARow = !playing;
    if (playing) playing.pause();
    else players[0].play();
  });
}
