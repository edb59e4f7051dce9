// How loud notes are: a lane below the roll, with a line for each note as high as its velocity.
export const LANE = 64; // pixels
const MARGIN = 4, NEAR = 5, MOST = 127;

export class Lane {
  constructor(roll) {
    Object.assign(this, { roll, voice: 0, height: 0 });
  }

  // The velocity at a place of the canvas.
  at(y) {
    const share = (this.roll.height + LANE - y) / (LANE - MARGIN);
    return Math.max(1, Math.min(MOST, Math.round(share * MOST)));
  }

  // Notes that begin between two places: the chosen ones, or if none is, those of the voice at hand.
  notes(x, other) {
    const { roll } = this, [left, right] = [Math.min(x, other) - NEAR, Math.max(x, other) + NEAR];
    const from = roll.selected.size ? [...roll.selected] : roll.byVoice[this.voice] ?? [];
    const near = from.filter((note) => roll.x(note[1]) >= left && roll.x(note[1]) <= right);
    if (x !== other || !near.length) return near;
    const away = (note) => Math.abs(roll.x(note[1]) - x), least = Math.min(...near.map(away));
    return near.filter((note) => away(note) === least); // of a chord all
  }

  draw(pen, from, to) {
    const { roll } = this, top = roll.height, { width } = roll;
    if (!this.height) return;
    pen.globalAlpha = 1;
    pen.clearRect(0, top, width, LANE);
    pen.fillStyle = roll.colour;
    pen.font = "11px system-ui";
    pen.fillText("Loud", 2, top + 14);
    pen.globalAlpha = 0.35;
    pen.fillRect(0, top, width, 1);
    pen.save();
    pen.beginPath();
    pen.rect(roll.keys, top, width, LANE);
    pen.clip();
    const others = roll.score.voices.map((_, i) => i).filter((i) => i !== this.voice);
    for (const voice of [...others, this.voice]) this.lines(pen, voice, from, to, top);
    pen.restore();
  }

  lines(pen, voice, from, to, top) {
    const { roll } = this, zero = roll.x(0), wide = Math.max(2, Math.min(7, (roll.perTick * roll.score.ticks_per_beat) / 5));
    for (const note of roll.visible(voice, from, to)) {
      const chosen = roll.selected.has(note), high = (note[4] / MOST) * (LANE - MARGIN), x = zero + note[1] * roll.perTick;
      pen.globalAlpha = voice === this.voice || chosen ? 1 : 0.2;
      pen.fillStyle = chosen ? roll.colour : roll.score.voices[voice].colour;
      pen.fillRect(x, top + LANE - high, 2, high);
      pen.fillRect(x, top + LANE - high, wide, 3);
    }
  }
}
