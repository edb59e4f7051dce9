// Hands on a roll: bars are marked, the play head is moved, and notes are added, moved, lengthened, made louder and removed.
import { Finger } from "./finger.js";
import { pitchName } from "./roll.js";

const EDGE = 6, WIDE_EDGE = 16; // pixels at the end of a note that make it longer: for a mouse, and for a finger
const TWICE_MS = 400; // within which two clicks are one double click
const LOUD = [4, 16]; // by how much a key changes the velocity, and with Shift

const louder = (note, velocity) => (note[4] = Math.max(1, Math.min(127, Math.round(velocity))));

export class Pencil {
  // does: marked(first, last), edited(remove, add), sought(tick), told(text), voice() → number: the one that notes are added to,
  // velocity() → number: of notes that are added, chosen(notes).
  constructor(roll, does) {
    Object.assign(this, { roll, does, editing: false, step: 1, gesture: null, clicked: { at: 0, name: "" } });
    const { canvas, box } = roll;
    this.finger = new Finger(canvas, this);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.finger.moved(event) || this.move(event));
    canvas.addEventListener("pointerup", (event) => this.finger.lifted() || this.up(event));
    canvas.addEventListener("pointercancel", () => this.finger.gone() || this.cancel());
    canvas.addEventListener("contextmenu", (event) => (this.editing || this.gesture) && event.preventDefault());
    box.addEventListener("keydown", (event) => this.key(event));
  }

  snapped(tick, how = Math.floor) {
    return how(tick / this.step + 1e-6) * this.step;
  }

  down(event) {
    const place = this.roll.score && !this.gesture && this.roll.at(event);
    if (!place || place.keys) return;
    this.roll.box.focus({ preventScroll: true });
    event.preventDefault();
    const touch = event.pointerType === "touch";
    if (touch && !place.ruler && !place.velocity && !(this.editing && this.noteAt(place, touch))) this.finger.rests(event, place);
    else this.act(event, place);
  }

  // What a button or a finger does that went down there.
  act(event, place) {
    if (place.ruler) return this.begin(event, { kind: "seek" }, place);
    if (place.velocity) return this.begin(event, { kind: "loud", x: place.x, before: new Map() }, place);
    if (!this.editing) return this.begin(event, { kind: "mark", from: this.roll.barAt(place.tick) }, place);
    const touch = event.pointerType === "touch", note = this.noteAt(place, touch);
    if (note && (event.button === 2 || this.twice(note, event))) return this.remove([note]);
    if (event.button) return;
    if (!note) return this.begin(event, { kind: "add", note: this.fresh(place) }, place);
    if (event.shiftKey) {
      if (!this.roll.selected.delete(note)) this.roll.selected.add(note);
      return this.select([...this.roll.selected]);
    }
    if (!this.roll.selected.has(note)) this.select([note]);
    const edge = this.roll.x(note[2]) - this.roll.x(place.tick) < Math.min(touch ? WIDE_EDGE : EDGE, (note[2] - note[1]) * this.roll.perTick / 2);
    this.begin(event, { kind: edge ? "end" : "move", note, before: [...this.roll.selected].map((one) => [...one]) }, place);
  }

  // The note at a place; a finger also means one beside it.
  noteAt({ tick, pitch }, touch) {
    for (const beside of touch ? [0, 1, -1] : [0]) {
      const found = this.roll.noteAt(tick, pitch + beside);
      if (found) return found;
    }
    return null;
  }

  // Whether this is the second of two quick clicks on a note. (Such events do not count clicks.)
  twice(note, { timeStamp }) {
    const { clicked } = this, name = note.slice(0, 4).join();
    this.clicked = { at: timeStamp, name };
    return clicked.name === name && timeStamp - clicked.at < TWICE_MS;
  }

  begin(event, gesture, place) {
    this.gesture = { ...gesture, at: place };
    this.roll.canvas.setPointerCapture(event.pointerId);
    this.move(event);
  }

  fresh({ tick, pitch }) {
    const first = Math.min(this.snapped(tick), this.roll.score.end - 1), last = Math.min(this.roll.score.end, first + this.length());
    const note = [this.does.voice(), Math.round(first), Math.round(last), pitch, this.does.velocity()];
    this.roll.score.notes.push(note);
    this.roll.sort();
    this.select([note]);
    return note;
  }

  length() {
    return this.last ?? this.roll.score.ticks_per_beat;
  }

  move(event) {
    const { gesture, roll } = this;
    if (!gesture) return void this.hover(event);
    const place = roll.at(event);
    if (gesture.kind === "seek") return this.does.sought(Math.min(place.tick, roll.score.end));
    if (gesture.kind === "mark") {
      const bar = roll.barAt(place.tick);
      return this.does.marked(Math.min(gesture.from, bar), Math.max(gesture.from, bar));
    }
    if (gesture.kind === "loud") return this.paint(place);
    if (gesture.kind === "add") {
      gesture.note[2] = Math.round(Math.min(roll.score.end, Math.max(gesture.note[1] + this.step, place.tick - gesture.at.tick > this.step / 2 ? this.snapped(place.tick, Math.ceil) : gesture.note[2])));
    } else {
      const by = this.snapped(place.tick - gesture.at.tick, Math.round);
      [...roll.selected].forEach((note, i) => this.shift(note, gesture.before[i], gesture.kind === "move" ? by : 0, gesture.kind === "end" ? by : 0, gesture.kind === "move" ? place.pitch - gesture.at.pitch : 0));
    }
    roll.sort();
    roll.draw();
  }

  // Notes that a stroke in the lane passes take its height as their velocity.
  paint({ x, y }) {
    const { gesture, roll } = this, velocity = roll.lane.at(y);
    for (const note of roll.lane.notes(gesture.x, x)) {
      if (!gesture.before.has(note)) gesture.before.set(note, [...note]);
      note[4] = velocity;
    }
    gesture.x = x;
    roll.draw();
  }

  // A note as it was, moved, and with another end; within the piece.
  shift(note, [, first, last, pitch], by, longer, up) {
    const length = Math.max(Math.min(this.step, last - first), last - first + longer), { end } = this.roll.score;
    const start = Math.max(0, Math.min(end - 1, first + by));
    note[1] = Math.round(start);
    note[2] = Math.round(Math.min(end, start + length));
    note[3] = Math.max(0, Math.min(127, pitch + up));
  }

  hover(event) {
    const place = this.editing && this.roll.score ? this.roll.at(event) : null, note = place && this.roll.noteAt(place.tick, place.pitch);
    const edge = note && this.roll.x(note[2]) - this.roll.x(place.tick) < EDGE;
    this.roll.canvas.style.cursor = !place || place.ruler ? "" : place.velocity ? "ns-resize" : edge ? "ew-resize" : note ? "move" : "crosshair";
  }

  up(event) {
    const { gesture, roll } = this;
    if (gesture) this.move(event);
    this.gesture = null;
    if (!gesture) return;
    if (gesture.kind === "add") this.changed([], [gesture.note]);
    else if (gesture.kind === "loud") this.changed([...gesture.before.values()], [...gesture.before.keys()]);
    else if (gesture.before) this.changed(gesture.before, [...roll.selected]);
  }

  cancel() {
    const { gesture, roll } = this;
    this.gesture = null;
    if (gesture?.kind === "add") roll.score.notes.splice(roll.score.notes.indexOf(gesture.note), 1);
    else if (gesture?.kind === "loud") gesture.before.forEach((before, note) => note.splice(0, 5, ...before));
    else if (gesture?.before) [...roll.selected].forEach((note, i) => note.splice(0, 5, ...gesture.before[i]));
    roll.sort();
    roll.draw();
  }

  changed(before, after) {
    const one = after.at(-1);
    if (!one) return;
    this.does.chosen([...this.roll.selected]);
    this.last = one[2] - one[1];
    if (JSON.stringify(before) === JSON.stringify(after)) return;
    this.does.edited(before.map((note) => [...note]), after.map((note) => [...note]));
    this.tell(one);
  }

  select(notes) {
    this.roll.selected = new Set(notes);
    this.roll.draw();
    this.does.chosen(notes);
    if (notes.length === 1) this.tell(notes[0]);
  }

  tell([voice, first, last, pitch, velocity]) {
    const { score } = this.roll, bar = this.roll.barAt(first), beat = 1 + (first - score.bars[bar - 1]) / score.ticks_per_beat;
    const beats = (last - first) / score.ticks_per_beat, short = (number) => Number(number.toFixed(2));
    this.does.told(`${pitchName(pitch)}, ${score.voices[voice].name}, bar ${bar}, beat ${short(beat)}, ${short(beats)} beats long, velocity ${velocity}`);
  }

  remove(notes) {
    const { roll } = this;
    if (!notes.length) return;
    roll.score.notes = roll.score.notes.filter((note) => !notes.includes(note));
    roll.selected.clear();
    roll.sort();
    roll.draw();
    this.does.edited(notes.map((note) => [...note]), []);
    this.does.told(notes.length === 1 ? "The note is removed." : `${notes.length} notes are removed.`);
  }

  // The next or previous note of the voice at hand.
  walk(by) {
    const { roll } = this, notes = roll.byVoice[this.does.voice()] ?? [];
    const [now] = roll.selected, place = notes.indexOf(now);
    const next = notes[place < 0 ? (by > 0 ? 0 : notes.length - 1) : Math.max(0, Math.min(notes.length - 1, place + by))];
    if (!next) return this.does.told("This track has no notes.");
    this.select([next]);
    roll.reveal(next);
  }

  key(event) {
    const { roll } = this, { score } = roll;
    if (!score || event.target !== roll.box) return;
    const big = event.shiftKey, far = event.ctrlKey || event.metaKey, key = event.key, selected = [...roll.selected];
    if (key === "+" || key === "=") roll.zoom(1.25, big ? 1.25 : 1);
    else if (key === "-" || key === "_") roll.zoom(0.8, big ? 0.8 : 1);
    else if (key === "Home") this.does.sought(0);
    else if (key === "End") this.does.sought(score.end);
    else if (!this.editing) return this.keyMarking(event);
    else if (key === "Delete" || key === "Backspace") this.remove(selected);
    else if (key === "Escape") this.select([]);
    else if (key === "Enter" || key === "Insert") this.insert();
    else if (key === "ArrowLeft" || key === "ArrowRight") {
      const by = (key === "ArrowLeft" ? -1 : 1) * this.step;
      if (far || big) this.change((note, old) => this.shift(note, old, far ? by : 0, far ? 0 : by, 0));
      else this.walk(Math.sign(by));
    } else if (event.altKey && (key === "ArrowUp" || key === "ArrowDown")) {
      const by = (key === "ArrowUp" ? 1 : -1) * LOUD[big ? 1 : 0];
      this.change((note) => louder(note, note[4] + by));
    } else if (key === "ArrowUp" || key === "ArrowDown") this.change((note, old) => this.shift(note, old, 0, 0, (key === "ArrowUp" ? 1 : -1) * (big ? 12 : 1)));
    else return;
    event.preventDefault();
  }

  keyMarking(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.ctrlKey) return;
    event.preventDefault();
    const { score, region } = this.roll, most = score.bars.length, first = this.roll.barAt(region[0]), last = this.roll.barAt(region[1] - 1);
    const within = (bar) => Math.max(1, Math.min(most, bar));
    if (event.shiftKey) this.does.marked(first, Math.max(first, within(last + by)));
    else this.does.marked(within(first + by), within(first + by));
  }

  // The chosen notes become as loud as this, if there are any.
  loud(velocity) {
    if (this.roll.selected.size) this.change((note) => louder(note, velocity));
  }

  change(how) {
    const notes = [...this.roll.selected], before = notes.map((note) => [...note]);
    if (!notes.length) return this.does.told("No note is chosen: go to one with the left and right arrow keys.");
    notes.forEach((note, i) => how(note, before[i]));
    this.roll.sort();
    this.roll.draw();
    this.roll.reveal(notes[0]);
    this.changed(before, notes);
  }

  // A note after the chosen one, or at the play head.
  insert() {
    const { roll } = this, [now] = roll.selected, pitch = now?.[3] ?? roll.byVoice[this.does.voice()]?.[0]?.[3] ?? 60;
    const tick = now ? now[2] : roll.tick ?? 0;
    if (tick >= roll.score.end) return this.does.told("The piece ends there.");
    const note = this.fresh({ tick: now ? tick : this.snapped(tick), pitch });
    roll.reveal(note);
    this.changed([], [note]);
  }
}
