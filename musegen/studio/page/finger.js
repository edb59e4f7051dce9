// A finger on a roll: it scrolls, unless it rests before it moves; a tap is a click.
const REST_MS = 350, STILL = 8; // pixels that a resting finger may move

export class Finger {
  constructor(canvas, pencil) {
    Object.assign(this, { pencil, waits: null });
    // Once something is dragged the page must not scroll along.
    for (const kind of ["touchstart", "touchmove"]) {
      canvas.addEventListener(kind, (event) => pencil.gesture && event.cancelable && event.preventDefault(), { passive: false });
    }
  }

  // It went down where it may scroll.
  rests(event, place) {
    this.gone();
    this.waits = { event, place, timer: setTimeout(() => this.acts(), REST_MS) };
  }

  acts() {
    const { event, place } = this.waits;
    this.gone();
    this.pencil.act(event, place);
  }

  // Whether it only scrolls, or may come to do so.
  moved({ clientX, clientY }) {
    if (!this.waits) return false;
    const { event } = this.waits;
    if (Math.hypot(clientX - event.clientX, clientY - event.clientY) > STILL) this.gone();
    return true;
  }

  // A tap: what it began ends at once, with the event that comes now.
  lifted() {
    if (this.waits) this.acts();
    return false;
  }

  gone() {
    if (!this.waits) return false;
    clearTimeout(this.waits.timer);
    this.waits = null;
    return true;
  }
}
