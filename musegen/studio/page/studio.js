// The page: what is asked for, the piece at hand with its versions, and the way back.
import { address, ask, made } from "./api.js";
import { Codes } from "./codes.js";
import { Figure } from "./figure.js";
import { element, fields, values } from "./form.js";
import { Pencil } from "./pencil.js";
import { Player } from "./player.js";
import { Roll, between } from "./roll.js";
import { Runs } from "./runs.js";
import { tracks } from "./tracks.js";
import { versions } from "./versions.js";

const at = (id) => document.getElementById(id);
const number = (id) => Number(at(id).value);
const past = [], future = [], known = new Map(); // pieces by id
let now = null; // { pieces: […], chosen: id }
let model = null, job = null, busy = false, shown = null, sliding = false, edits = Promise.resolve(), waiting = 0;

function say(text, bad = false) {
  at("status").textContent = text;
  at("status").className = bad ? "bad" : "";
}
const fail = (error) => say(error.message, true);

// What is seen and heard

const roll = new Roll(at("roll"));
const pencil = new Pencil(roll, {
  marked: (first, last) => {
    at("first").value = first;
    at("last").value = last;
    mark();
  },
  edited: edit,
  sought: (tick) => seek(between(roll.score.times, tick, 0, 1)),
  told: say,
  voice: () => number("voice"),
  velocity: () => Math.max(1, Math.min(127, Math.round(number("velocity")) || 90)),
  chosen(notes) {
    if (!notes.length) return;
    if (!notes.some((note) => note[4] === number("velocity"))) at("velocity").value = notes[0][4];
    if (notes.length === 1) [at("voice").value, roll.lane.voice] = [notes[0][0], notes[0][0]];
  },
});
const player = new Player({ state: playing, failed: fail });
const figure = new Figure(at("figure"), (second) => (at("player").currentTime = second));
const mixed = tracks(() => {
  roll.faint = new Set([...(shown?.score?.voices ?? []).keys()].filter((voice) => !mixed.heard(voice)));
  figure.hidden = mixed.hidden;
  roll.draw();
  figure.draw();
  player.mix();
});
player.heard = (voice) => mixed.heard(voice);

function mark() {
  const [first, last] = [number("first"), number("last")].sort((a, b) => a - b);
  roll.region = roll.score && [roll.score.bars[first - 1] ?? 0, roll.barEnd(last)];
  roll.draw();
}

function seek(second) {
  player.seek(second);
  follow();
}

const clock = (second) => `${Math.floor(second / 60)}:${String(Math.floor(second % 60)).padStart(2, "0")}`;

function follow() {
  if (!shown?.score) return;
  const second = player.now();
  at("position").value = second;
  at("position").setAttribute("aria-valuetext", clock(second));
  at("time").textContent = `${clock(second)} / ${clock(player.seconds)}`;
  at("level").value = player.peak();
  roll.place(between(shown.score.times, second, 1, 0), player.playing);
  if (player.playing) requestAnimationFrame(follow);
}

function playing() {
  at("play").textContent = player.playing ? (player.waiting ? "Stop …" : "Stop") : "Play";
  requestAnimationFrame(follow);
}

function toggle() {
  if (shown?.score) player.playing ? player.stop() : player.play();
  else if (shown) at("player").paused ? at("player").play() : at("player").pause();
}

// Work

function watch(found) {
  job = { stop: () => ask("DELETE", `/api/jobs/${found.id}`).catch(fail) };
  const { what, done, total } = found.progress;
  at("progress").max = Math.max(total, 1);
  at("progress").value = done;
  if (found.state !== "done") say(found.state === "running" ? what || "Working …" : `Work is ${found.state}.`);
}

function usable() {
  const can = new Set(model?.can ?? []), score = shown?.score;
  at("work").hidden = !busy;
  at("generate").disabled = busy || !can.has("generate");
  at("open").disabled = busy || !model;
  for (const [id, what] of [["anew", "infill"], ["continue", "continue"], ["accompany", "accompany"]]) {
    at(id).disabled = busy || !now || !can.has(what);
  }
  for (const id of ["region", "transport", "tools", "roll", "help"]) at(id).hidden = !score;
  at("figure").hidden = Boolean(score) || !shown?.figure;
  at("player").hidden = Boolean(score) || !shown?.figure?.times.length;
  at("picture").hidden = !shown || Boolean(score || shown.figure);
  at("lengths").firstElementChild.hidden = !can.has("continue");
  for (const [id, what] of [["undo", past], ["redo", future]]) at(id).disabled = busy || !what.length;
  at("save").disabled = busy || !now;
  at("piece").hidden = !now;
  at("welcome").hidden = Boolean(now);
  for (const id of ["from", "to", "between"]) at(id).disabled = busy || (now?.pieces.length ?? 0) < 2;
}

function keep(state, undone = past) {
  if (now) undone.push(now);
  if (undone === past) future.length = 0;
  now = state;
}

// Have something made, and go on with it; quietly: while a slider is dragged, as one step back.
async function make(path, body, quietly = false) {
  busy = !quietly;
  await edits;
  usable();
  try {
    const done = await made(path, body, quietly ? () => {} : watch);
    if (done.state === "done") {
      const state = { pieces: done.pieces, chosen: done.pieces[0] };
      if (quietly && sliding) now = state;
      else keep(state);
      sliding = quietly;
      if (path === "/api/generate" || path === "/api/continue" || "seed" in body) at("seed").value = number("seed") + 1; // the next time something else comes
      await show(false, at("at-once").checked && !quietly);
      if (!quietly) say(["Done.", ...done.notes].join(" "));
    }
  } catch (error) {
    fail(error);
  }
  busy = false;
  usable();
}

async function piece(id) {
  if (!known.has(id)) known.set(id, await ask("GET", `/api/pieces/${id}`));
  return known.get(id);
}

async function show(stay = false, heard = false) {
  const chosen = now?.chosen, found = now && (await Promise.all(now.pieces.map(piece)));
  if (now?.chosen !== chosen) return; // something else is at hand meanwhile
  shown = found && found[now.pieces.indexOf(chosen)];
  usable(); // before anything is measured
  if (!shown) return player.stop();
  const { score } = shown, title = `Drawing of ${shown.name}: ${shown.figure?.about ?? ""}`;
  at("name").textContent = shown.name;
  at("about").textContent = [shown.figure?.about, "seed" in shown.made ? `seed ${shown.made.seed}` : "", shown.made.edits ? "edited by hand" : ""].filter(Boolean).join(" · ");
  at("roll").setAttribute("aria-label", `Notes of ${shown.name}`);
  at("figure").setAttribute("aria-label", title);
  at("download").href = address(shown.id, "file");
  roll.show(score && { ...score, notes: score.notes.map((note) => [...note]) }, stay);
  figure.show(score ? null : shown.figure);
  at("picture").alt = `Picture ${now.pieces.indexOf(chosen) + 1} of ${shown.name}`;
  at("picture").src = score || shown.figure ? "" : address(shown.id, "picture");
  mixed.show(shown, model.tracks);
  listen(score);
  at("versions").replaceChildren(...versions(found, chosen, (id) => {
    now = { ...now, chosen: id };
    show(true).then(usable, fail);
  }));
  for (const id of ["from", "to"]) {
    at(id).replaceChildren(...now.pieces.map((_, i) => element("option", { value: i, textContent: i + 1 })));
    at(id).value = id === "from" ? 0 : now.pieces.length - 1;
  }
  if (score) shape(score);
  if (heard && score) player.play();
  else if (heard && !at("player").hidden) at("player").play().catch(() => {});
}

function listen(score) {
  if (!score) {
    player.stop();
    if (shown.figure?.times.length) at("player").src = address(shown.id, "sound?format=wav");
    else at("player").removeAttribute("src");
    return;
  }
  at("player").pause();
  const begins = score.voices.map(() => []);
  for (const [voice, first] of score.notes) begins[voice].push(between(score.times, first, 0, 1));
  player.load(shown.id, begins, score.times.at(-1)[1]);
  at("position").max = player.seconds;
  follow();
}

function shape(score) {
  const beat = score.ticks_per_beat, step = score.ticks_per_step, chosen = at("grid").value, voice = number("voice");
  const sizes = [["Bar", (score.bars[1] ?? score.end) - score.bars[0]], ["Beat", beat], ["½ beat", beat / 2], ["⅓ beat", beat / 3], ["¼ beat", beat / 4], ["Finest", step]];
  at("grid").replaceChildren(...sizes.filter(([, size]) => size >= step && Math.abs(size / step - Math.round(size / step)) < 1e-6).map(([name, size]) => element("option", { value: size, textContent: name })));
  at("grid").value = [...at("grid").options].some((option) => option.value === chosen) ? chosen : step;
  pencil.step = number("grid");
  at("voice").replaceChildren(...score.voices.map(({ name }, i) => element("option", { value: i, textContent: name })));
  at("voice").value = score.voices[voice] ? voice : 0;
  roll.lane.voice = number("voice");
  for (const id of ["first", "last"]) {
    at(id).max = score.bars.length;
    at(id).value = Math.min(number(id), score.bars.length);
  }
  mark();
}

// Notes that were changed by hand are seen at once; the studio makes a piece of them, one change after the other.
function edit(remove, add) {
  waiting += 1;
  edits = edits.then(async () => {
    try {
      const found = await ask("POST", "/api/edit", { piece: now.chosen, remove, add });
      known.set(found.id, found);
      keep({ pieces: now.pieces.map((id) => (id === now.chosen ? found.id : id)), chosen: found.id });
      waiting -= 1;
      if (!waiting) await settle();
    } catch (error) {
      waiting = 0;
      fail(error);
      await show(true);
    }
    usable();
  });
}

async function settle() {
  const chosen = [...roll.selected].map((note) => note.slice(0, 4).join());
  if (pencil.gesture) return; // what comes of it is shown then
  await show(true);
  roll.selected = new Set(roll.score.notes.filter((note) => chosen.includes(note.slice(0, 4).join())));
  roll.draw();
}

// What is asked for

const common = () => ({ model: model.name, seed: number("seed"), options: values(at("options")) });
const about = () => ({ ...common(), n: number("n"), piece: now.chosen });
const label = () => (model.labels.length && at("label").value ? { label: at("label").value } : {});
const ticked = () => mixed.ticked().filter((name) => model.tracks.includes(name));
const codes = new Codes(at("codes"), {
  decode: (list, quietly) => make("/api/decode", { model: model.name, codes: list, options: values(at("options")) }, quietly),
});

async function choose() {
  model = null;
  usable();
  say("Loading …");
  try {
    model = await ask("GET", `/api/models/${encodeURIComponent(at("model").value)}`);
    at("said").textContent = at("model").selectedOptions[0].dataset.about;
    at("options").replaceChildren(...fields(model.options));
    at("labels").hidden = !model.labels.length;
    at("label").replaceChildren(element("option", { value: "", textContent: "any" }), ...model.labels.map((name) => element("option", { textContent: name })));
    codes.show(model);
    say("Ready.");
  } catch (error) {
    fail(error);
  }
  usable();
}

function open(file) {
  if (file && model && !busy) make(`/api/open?model=${encodeURIComponent(model.name)}&name=${encodeURIComponent(file.name)}`, file);
}

function generate() {
  player.wake(); // a browser lets sound begin only where somebody clicks
  make("/api/generate", { ...common(), ...label(), n: number("n"), ...(model.can.includes("continue") ? { bars: number("bars") } : {}) });
}

async function anew() {
  await edits;
  // What a model wrote goes on on its own tracks; a file that was opened keeps every event of its own.
  const own = !["open", "infill", "accompany", "continue"].includes(shown.made.request);
  const bars = [number("first"), number("last")].sort((a, b) => a - b).join("-");
  make(`/api/${own ? "regenerate" : "infill"}`, { ...about(), tracks: ticked(), bars });
}

async function step(from, to) {
  await edits;
  if (busy || !from.length) return;
  const state = from.pop();
  to.push(now);
  now = state;
  sliding = false;
  show(true).then(usable, fail);
}

async function save() {
  const stop = new AbortController();
  try {
    await edits;
    job = { stop: () => stop.abort() };
    busy = true;
    usable();
    at("progress").removeAttribute("value"); // nobody knows how far it is
    say("Saving …");
    const saved = await ask("POST", "/api/save", { pieces: [now.chosen], folder: at("folder").value }, stop.signal);
    say(`Saved in the folder ${saved.folder}: ${saved.files.join(", ")}.`);
  } catch (error) {
    if (stop.signal.aborted) say("Nothing is saved: it was cancelled.");
    else fail(error);
  }
  busy = false;
  usable();
}

const click = (id, call) => at(id).addEventListener("click", call);
at("model").addEventListener("change", choose);
click("generate", generate);
click("anew", anew);
click("continue", () => edits.then(() => make("/api/continue", { ...about(), bars: number("bars") })));
click("accompany", () => edits.then(() => make("/api/accompany", { ...about(), tracks: ticked() })));
click("cancel", () => job?.stop());
click("undo", () => step(past, future));
click("redo", () => step(future, past));
click("save", save);
click("play", toggle);
click("random", () => codes.random());
click("between", () => codes.between(known.get(now.pieces[number("from")]), known.get(now.pieces[number("to")])).catch(fail));
click("remove", () => pencil.remove([...roll.selected]));
for (const [id, across, down] of [["shorter", 0.7, 1], ["longer", 1.4, 1], ["lower", 1, 0.8], ["taller", 1, 1.25]]) click(id, () => roll.zoom(across, down));
click("fit", () => roll.score && roll.fit());
at("open").addEventListener("change", () => open(at("open").files[0]));
at("asking").addEventListener("submit", (event) => event.preventDefault());
at("position").addEventListener("input", () => seek(number("position")));
at("volume").addEventListener("input", () => {
  player.volume = at("player").volume = number("volume");
  if (player.context) player.wake();
});
at("velocity").addEventListener("change", () => pencil.loud(number("velocity")));
at("voice").addEventListener("change", () => {
  roll.lane.voice = number("voice");
  roll.draw();
});
at("grid").addEventListener("change", () => (pencil.step = number("grid")));
for (const id of ["first", "last"]) at(id).addEventListener("input", mark);
for (const id of ["marking", "editing"]) {
  at(id).addEventListener("change", () => {
    pencil.editing = at("editing").checked;
    at("edit").hidden = !pencil.editing;
    roll.loudness(pencil.editing);
  });
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea"), pressing = event.target.closest("button, summary, a, audio, input, select");
  if (event.key === " " && !pressing) toggle();
  else if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !(typing && typing.type !== "range" && typing.type !== "radio" && typing.type !== "checkbox")) event.shiftKey ? step(future, past) : step(past, future);
  else return;
  event.preventDefault();
});
for (const event of ["play", "seeked", "timeupdate"]) {
  at("player").addEventListener(event, () => {
    figure.second = at("player").currentTime;
    figure.draw();
  });
}

const runs = new Runs({ at, fail });
for (const [id, other, section, hidden] of [["show-make", "show-runs", "make", "training"], ["show-runs", "show-make", "training", "make"]]) {
  click(id, () => {
    at(id).setAttribute("aria-pressed", "true");
    at(other).setAttribute("aria-pressed", "false");
    at(section).hidden = false;
    at(hidden).hidden = true;
    runs.watch(section === "training");
  });
}

try {
  const { models } = await ask("GET", "/api/models");
  at("model").replaceChildren(...models.map(({ name, about }) => {
    const option = element("option", { textContent: name });
    option.dataset.about = about;
    return option;
  }));
  await choose();
} catch (error) {
  fail(error);
}
usable();
