// The page: what is asked for, the piece at hand with its versions, and the way back.
import { address, ask, made } from "./api.js";
import { element, fields, values } from "./form.js";
import { Roll } from "./roll.js";

const at = (id) => document.getElementById(id);
const number = (id) => Number(at(id).value);
const past = [], future = [];
let now = null; // { pieces: […], chosen: id }
let model = null, job = null, busy = false, shown = null;

const roll = new Roll(at("roll"), (first, last) => {
  at("first").value = first;
  at("last").value = last;
  mark();
});

function mark() {
  roll.region = [Math.min(number("first"), number("last")), Math.max(number("first"), number("last"))];
  roll.draw();
}

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").className = bad ? "bad" : "";
}

function watch(found) {
  job = found;
  const { what, done, total } = found.progress;
  at("progress").max = Math.max(total, 1);
  at("progress").value = done;
  if (found.state !== "done") say(found.state === "running" ? what || "Working …" : `Work is ${found.state}.`);
}

function usable() {
  const can = new Set(model?.can ?? []), music = shown !== null && roll.bars.length > 0;
  at("work").hidden = !busy;
  at("generate").disabled = busy || !can.has("generate");
  at("open").disabled = busy || !model;
  for (const [id, what] of [["anew", "infill"], ["continue", "continue"], ["accompany", "accompany"]]) {
    at(id).disabled = busy || !now || !can.has(what);
  }
  at("region").hidden = !music;
  at("lengths").firstElementChild.hidden = !can.has("continue");
  at("undo").disabled = busy || !past.length;
  at("redo").disabled = busy || !future.length;
  at("save").disabled = busy || !now;
  at("piece").hidden = !now;
}

// Have something made, and go on with it.
async function make(path, body) {
  busy = true;
  usable();
  try {
    const done = await made(path, body, watch);
    if (done.state === "done") {
      if (now) past.push(now);
      future.length = 0;
      now = { pieces: done.pieces, chosen: done.pieces[0] };
      if (path !== "/api/open") at("seed").value = number("seed") + 1; // the next time something else comes
      await show();
      say(["Done.", ...done.notes].join(" "));
    }
  } catch (error) {
    say(error.message, true);
  }
  busy = false;
  usable();
}

async function show() {
  const piece = now && (await ask("GET", `/api/pieces/${now.chosen}`));
  shown = piece;
  at("piece").hidden = !piece; // before anything is measured
  if (!piece) return;
  at("name").textContent = piece.name;
  const seed = "seed" in piece.made ? `seed ${piece.made.seed}` : "";
  at("about").textContent = [piece.figure?.about, seed].filter(Boolean).join(" · ");
  at("roll").setAttribute("aria-label", `Drawing of ${piece.name}: ${piece.figure?.about ?? ""}`);
  roll.second = null;
  roll.show(piece.figure);
  at("player").src = address(piece.id, "sound?format=wav");
  at("download").href = address(piece.id, "file");
  at("versions").replaceChildren(...now.pieces.map((id, i) => {
    const choose = element("input", { type: "radio", name: "version", checked: id === now.chosen });
    choose.addEventListener("change", () => {
      now = { ...now, chosen: id };
      show().then(usable, (error) => say(error.message, true));
    });
    return element("label", {}, choose, ` ${i + 1}`);
  }));
  const layers = [...(piece.figure?.layers ?? [])];
  for (const name of model.tracks) if (!layers.some((layer) => layer.name === name)) layers.push({ name, colour: "transparent" });
  at("tracks").replaceChildren(...layers.map((layer) => {
    const box = element("input", { type: "checkbox", checked: !roll.hidden.has(layer.name), value: layer.name });
    box.addEventListener("change", () => {
      if (box.checked) roll.hidden.delete(layer.name);
      else roll.hidden.add(layer.name);
      roll.draw();
    });
    const swatch = element("i");
    swatch.style.background = layer.colour;
    return element("label", {}, box, swatch, layer.name);
  }));
  for (const id of ["first", "last"]) at(id).max = roll.bars.length;
  if (roll.bars.length) mark();
}

const common = () => ({ model: model.name, seed: number("seed"), options: values(at("options")) });
const about = () => ({ ...common(), n: number("n"), piece: now.chosen });
const label = () => (model.labels.length && at("label").value ? { label: at("label").value } : {});
const ticked = () => [...at("tracks").querySelectorAll("input:checked")].map((box) => box.value).filter((name) => model.tracks.includes(name));

async function choose() {
  model = null;
  usable();
  say("Loading …");
  try {
    model = await ask("GET", `/api/models/${encodeURIComponent(at("model").value)}`);
    at("options").replaceChildren(...fields(model.options));
    at("labels").hidden = !model.labels.length;
    at("label").replaceChildren(element("option", { value: "", textContent: "any" }), ...model.labels.map((name) => element("option", { textContent: name })));
    say("Ready.");
  } catch (error) {
    say(error.message, true);
  }
  usable();
}

function open(file) {
  if (file && model && !busy) make(`/api/open?model=${encodeURIComponent(model.name)}&name=${encodeURIComponent(file.name)}`, file);
}

at("model").addEventListener("change", choose);
at("generate").addEventListener("click", () =>
  make("/api/generate", { ...common(), ...label(), n: number("n"), ...(model.can.includes("continue") ? { bars: number("bars") } : {}) }));
at("anew").addEventListener("click", () => {
  // What a model wrote goes on on its own tracks; a file that was opened keeps every event of its own.
  const own = !["open", "infill", "accompany", "continue"].includes(shown.made.request);
  make(`/api/${own ? "regenerate" : "infill"}`, { ...about(), tracks: ticked(), bars: roll.region.join("-") });
});
at("continue").addEventListener("click", () => make("/api/continue", { ...about(), bars: number("bars") }));
at("accompany").addEventListener("click", () => make("/api/accompany", { ...about(), tracks: ticked() }));
at("cancel").addEventListener("click", () => job && ask("DELETE", `/api/jobs/${job.id}`).catch((error) => say(error.message, true)));
at("open").addEventListener("change", () => open(at("open").files[0]));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});
for (const id of ["first", "last"]) at(id).addEventListener("input", mark);
at("asking").addEventListener("submit", (event) => event.preventDefault());

function step(from, to) {
  to.push(now);
  now = from.pop();
  show().then(usable, (error) => say(error.message, true));
}
at("undo").addEventListener("click", () => step(past, future));
at("redo").addEventListener("click", () => step(future, past));
at("save").addEventListener("click", async () => {
  try {
    const saved = await ask("POST", "/api/save", { pieces: [now.chosen], folder: at("folder").value });
    say(`Saved in the folder ${saved.folder}: ${saved.files.join(", ")}.`);
  } catch (error) {
    say(error.message, true);
  }
});

const player = at("player");
function follow() {
  roll.second = player.currentTime;
  roll.draw();
  if (!player.paused) requestAnimationFrame(follow);
}
for (const event of ["play", "seeked"]) player.addEventListener(event, follow);

try {
  const { models } = await ask("GET", "/api/models");
  at("model").replaceChildren(...models.map(({ name }) => element("option", { textContent: name })));
  await choose();
} catch (error) {
  say(error.message, true);
}
usable();
