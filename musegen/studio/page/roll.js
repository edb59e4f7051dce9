// A piano roll on a canvas that shows a part of the piece: only what is visible is drawn. The box around it scrolls.
import { LANE, Lane } from "./lane.js";

const CPU = { willReadFrequently: true }; // thousands of small rectangles are drawn faster than handed over
const KEYS = 44, TOP = 22, HIGHEST = 127;
const BLACK = new Set([1, 3, 6, 8, 10]);
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
export const pitchName = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

// What lies at a place of one of two columns of pairs that ascend, in between in proportion.
export function between(pairs, value, from, to) {
  const after = Math.max(1, pairs.findIndex((pair) => pair[from] >= value));
  if (after >= pairs.length) return pairs.at(-1)?.[to] ?? 0;
  const [a, b] = [pairs[after - 1], pairs[after]];
  return a[to] + (b[to] - a[to]) * Math.min(1, Math.max(0, (value - a[from]) / (b[from] - a[from] || 1)));
}

export class Roll {
  // box: scrolls; in it are a space as large as the piece, a canvas that stays in view, and the play head.
  constructor(box) {
    this.box = box;
    [this.space, this.canvas, this.head] = [".space", "canvas", ".head"].map((name) => box.querySelector(name));
    this.score = null;
    this.faint = new Set(); // voices that are not heard
    this.selected = new Set(); // notes
    this.region = null; // ticks
    this.tick = null; // of the play head
    this.perTick = this.row = 1;
    this.keys = KEYS;
    this.lane = new Lane(this);
    this.waiting = false;
    this.fitted = true; // and stays so when the window changes
    box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => (this.score && this.fitted ? this.fit() : this.resize())).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  // Whether it is also seen how loud notes are.
  loudness(seen) {
    this.lane.height = seen ? LANE : 0;
    if (this.score && this.fitted) this.fit();
    else this.resize();
  }

  // stay: another version of the same piece, seen from the same place.
  show(score, stay = false) {
    this.score = score;
    this.selected.clear();
    this.sort();
    if (score && !stay) this.fit();
    else this.draw();
  }

  // Notes in the order of their beginnings, voice by voice; called when notes have changed.
  sort() {
    this.byVoice = (this.score?.voices ?? []).map(() => []);
    for (const note of this.score?.notes ?? []) this.byVoice[note[0]].push(note);
    this.longest = 0;
    for (const notes of this.byVoice) {
      notes.sort((a, b) => a[1] - b[1]);
      for (const note of notes) this.longest = Math.max(this.longest, note[2] - note[1]);
    }
  }

  get width() { return this.box.clientWidth; }
  get fitting() { return (this.width - KEYS) / this.score.end; } // zoom at which all of it is seen
  get height() { return this.box.clientHeight - this.lane.height; } // of the notes
  x(tick) { return KEYS + tick * this.perTick - this.box.scrollLeft; }
  y(pitch) { return TOP + (HIGHEST - pitch) * this.row - this.box.scrollTop; }

  // Tick and pitch at a place of the canvas, and whether it is above the notes or, and at which velocity, below them.
  at(event) {
    const place = this.canvas.getBoundingClientRect();
    const x = event.clientX - place.left, y = event.clientY - place.top;
    const tick = Math.max(0, (x - KEYS + this.box.scrollLeft) / this.perTick);
    const below = this.lane.height > 0 && y >= this.height, pitch = HIGHEST - Math.floor((y - TOP + this.box.scrollTop) / this.row);
    return { x, y, tick, pitch, ruler: y < TOP, keys: x < KEYS, velocity: below ? this.lane.at(y) : 0 };
  }

  barAt(tick) { return Math.max(1, this.score.bars.filter((bar) => bar <= tick).length); }
  barEnd(bar) { return this.score.bars[bar] ?? this.score.end; }

  // The notes that are seen at a place, the uppermost first.
  noteAt(tick, pitch) {
    const slack = 2 / this.perTick;
    for (let voice = this.byVoice.length - 1; voice >= 0; voice--) {
      const found = this.visible(voice, tick - slack, tick + slack).filter((note) => note[3] === pitch && note[1] - slack <= tick && tick <= note[2] + slack);
      if (found.length) return found.at(-1);
    }
    return null;
  }

  visible(voice, from, to) {
    const notes = this.byVoice[voice];
    const first = (tick) => {
      let [low, high] = [0, notes.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (notes[middle][1] < tick) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    return notes.slice(first(from - this.longest), first(to));
  }

  // The whole length, and the pitches that have notes.
  fit() {
    const pitches = this.score.notes.map((note) => note[3]);
    const low = pitches.reduce((a, b) => Math.min(a, b), 127), high = pitches.reduce((a, b) => Math.max(a, b), 0);
    const [bottom, top] = low > high ? [54, 78] : [Math.min(low - 2, (low + high) / 2 - 12), Math.max(high + 2, (low + high) / 2 + 12)];
    this.row = Math.min(24, (this.height - TOP) / (top - bottom + 1));
    this.fitted = true;
    this.resize();
    this.box.scrollTo(0, (HIGHEST - top) * this.row);
    this.draw();
  }

  // Zoom by factors, around a place that stays where it is.
  zoom(across, down, place = { x: this.width / 2, y: this.height / 2 }) {
    if (!this.score) return;
    const tick = (place.x - KEYS + this.box.scrollLeft) / this.perTick, pitch = (place.y - TOP + this.box.scrollTop) / this.row;
    const { fitting } = this;
    this.fitted = false;
    this.perTick = Math.min(Math.max(this.perTick * across, fitting), Math.max(fitting, 400 / this.score.ticks_per_beat));
    this.row = Math.min(Math.max(this.row * down, (this.height - TOP) / 128), 40);
    this.resize();
    this.box.scrollTo(tick * this.perTick + KEYS - place.x, pitch * this.row + TOP - place.y);
    this.draw();
  }

  wheel(event) {
    if (!event.ctrlKey && !event.altKey) return; // the box scrolls
    event.preventDefault();
    const place = this.canvas.getBoundingClientRect(), factor = Math.exp(-event.deltaY / 300);
    this.zoom(event.altKey ? 1 : factor, event.altKey ? factor : 1, { x: event.clientX - place.left, y: event.clientY - place.top });
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    for (const [side, length] of [["width", this.width], ["height", this.height + this.lane.height]]) {
      if (this.canvas[side] !== Math.round(length * ratio)) this.canvas[side] = Math.round(length * ratio);
      this.canvas.style[side] = `${length}px`;
    }
    if (this.score) {
      this.perTick = this.fitted ? this.fitting : Math.max(this.perTick, this.fitting);
      this.space.style.width = `${Math.floor(KEYS + this.score.end * this.perTick)}px`;
      this.space.style.height = `${TOP + 128 * this.row + this.lane.height}px`;
    }
    this.draw();
  }

  // The line where the sound is; it moves without drawing anything else. follow: it stays in view.
  place(tick, follow = false) {
    this.tick = tick;
    if (tick === null || !this.score) return void (this.head.hidden = true);
    if (follow && (this.x(tick) < KEYS || this.x(tick) > this.width - 20)) this.box.scrollLeft = tick * this.perTick - 20;
    const x = this.x(tick);
    this.head.hidden = x < KEYS - 1 || x > this.width;
    this.head.style.transform = `translateX(${x}px)`;
  }

  // So that a note is in view.
  reveal([, first, , pitch]) {
    const x = this.x(first), y = this.y(pitch);
    if (x < KEYS || x > this.width - 30) this.box.scrollLeft += x - this.width / 3;
    if (y < TOP || y > this.height - this.row) this.box.scrollTop += y - this.height / 2;
  }

  // Once, before the next picture of the screen.
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.drawn();
    });
  }

  drawn() {
    const { canvas, score, width, height } = this, ratio = devicePixelRatio || 1, pen = canvas.getContext("2d", CPU);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height + this.lane.height);
    if (!score) return;
    this.colour = getComputedStyle(canvas).color;
    const from = this.box.scrollLeft / this.perTick, to = from + width / this.perTick;
    const high = Math.min(HIGHEST, HIGHEST - Math.floor(this.box.scrollTop / this.row)), low = Math.max(0, high - Math.ceil((height - TOP) / this.row));
    pen.fillStyle = this.colour;
    pen.globalAlpha = 0.06;
    for (let pitch = low; pitch <= high; pitch++) if (BLACK.has(pitch % 12)) pen.fillRect(KEYS, this.y(pitch), width, this.row);
    if (this.region) {
      pen.globalAlpha = 0.14;
      pen.fillRect(Math.max(KEYS, this.x(this.region[0])), TOP, this.x(this.region[1]) - Math.max(KEYS, this.x(this.region[0])), height);
    }
    this.lines(pen, from, to);
    pen.globalAlpha = 1;
    pen.save();
    pen.beginPath();
    pen.rect(KEYS, TOP, width, height);
    pen.clip();
    score.voices.forEach((voice, i) => this.faint.has(i) && this.notes(pen, i, from, to, low, high));
    score.voices.forEach((voice, i) => this.faint.has(i) || this.notes(pen, i, from, to, low, high));
    pen.restore();
    this.keyboard(pen, low, high);
    this.lane.draw(pen, from, to);
    this.place(this.tick);
  }

  lines(pen, from, to) {
    const { score, height } = this, first = Math.max(0, score.bars.findIndex((bar) => bar > from) - 1), shown = score.bars.filter((bar) => bar <= to).length;
    const every = Math.max(1, 2 ** Math.ceil(Math.log2(Math.max(1e-9, 40 / (this.perTick * (this.barEnd(first + 1) - score.bars[first]))))));
    pen.font = "12px system-ui";
    for (let i = first; i < shown; i++) {
      const x = Math.round(this.x(score.bars[i]));
      if (x >= KEYS && (i % every === 0 || this.perTick * score.ticks_per_beat > 8)) {
        pen.globalAlpha = 0.35;
        pen.fillRect(x, i % every === 0 ? 0 : TOP, 1, height);
        pen.globalAlpha = 1;
        if (i % every === 0) pen.fillText(String(i + 1), x + 4, 15);
      }
      if (this.perTick * score.ticks_per_beat < 10) continue;
      pen.globalAlpha = 0.12;
      for (let tick = score.bars[i] + score.ticks_per_beat; tick < this.barEnd(i + 1); tick += score.ticks_per_beat) {
        if (this.x(tick) >= KEYS) pen.fillRect(Math.round(this.x(tick)), TOP, 1, height);
      }
    }
  }

  notes(pen, voice, from, to, low, high) {
    const right = new Float64Array(128).fill(-1), faint = this.faint.has(voice), thick = Math.max(1, this.row - (this.row > 4 ? 1 : 0));
    pen.fillStyle = this.score.voices[voice].colour;
    pen.globalAlpha = 0.18;
    let loud = -1; // as it is drawn: eight levels, and asked of the canvas only where it changes
    const { perTick, row } = this, zero = this.x(0), top = this.y(HIGHEST); // asking the box for each note would take most of the time
    for (const note of this.visible(voice, from, to)) {
      const pitch = note[3];
      if (pitch < low || pitch > high) continue;
      const left = zero + note[1] * perTick, end = Math.max(zero + note[2] * perTick - 1, left + 1);
      if (end <= right[pitch] + 0.5) continue; // another one fills that point of the screen already
      right[pitch] = end;
      if (!faint && note[4] >> 4 !== loud) {
        loud = note[4] >> 4;
        pen.globalAlpha = 0.3 + 0.1 * loud;
      }
      pen.fillRect(left, top + (HIGHEST - pitch) * row, end - left, thick);
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = this.colour;
    pen.lineWidth = 2;
    for (const note of this.selected) {
      if (note[0] === voice) pen.strokeRect(this.x(note[1]), this.y(note[3]), Math.max(2, this.x(note[2]) - this.x(note[1]) - 1), thick);
    }
  }

  keyboard(pen, low, high) {
    const { height, row } = this;
    pen.clearRect(0, TOP, KEYS, height);
    pen.font = `${Math.min(11, Math.max(10, row))}px system-ui`;
    pen.fillStyle = this.colour;
    for (let pitch = low; pitch <= high; pitch++) {
      const y = this.y(pitch);
      pen.globalAlpha = BLACK.has(pitch % 12) ? 0.55 : 0.08;
      if (y + row > TOP) pen.fillRect(0, Math.max(TOP, y), BLACK.has(pitch % 12) ? KEYS - 18 : KEYS - 2, Math.max(0.5, Math.min(row, y + row - TOP) - 0.5));
      pen.globalAlpha = 1;
      if (pitch % 12 === 0 && y > TOP) pen.fillText(pitchName(pitch), KEYS - 22, y + row / 2 + 3);
    }
    pen.clearRect(0, 0, KEYS, TOP);
  }
}
