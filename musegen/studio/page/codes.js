// Codes of a model: sliders for what they do, walks along one of them, and walks from one version to another.
import { made } from "./api.js";
import { element } from "./form.js";

const STEPS = 9;
const short = (value) => Number(value.toFixed(3));

export class Codes {
  // does: decode(codes, sliding), busy(call), failed(error).
  constructor(panel, does) {
    Object.assign(this, { panel, does, code: null, wanted: null, working: false });
  }

  show(model) {
    this.model = model;
    this.code = model?.code ? [...model.code.start] : null;
    this.panel.hidden = !this.code;
    if (!this.code) return;
    this.sliders = model.code.sliders.map(({ coordinate, low, high }, i) => {
      const name = `Code ${i + 1}`, slider = element("input", { type: "range", min: low, max: high, step: (high - low) / 100, value: this.code[coordinate] });
      slider.setAttribute("aria-label", name);
      slider.addEventListener("input", () => {
        this.code[coordinate] = short(Number(slider.value));
        this.slide();
      });
      const walk = element("button", { type: "button", textContent: "Walk" });
      walk.setAttribute("aria-label", `Walk along ${name}`);
      walk.addEventListener("click", () => this.walk(coordinate, low, high));
      return { slider, coordinate, row: element("div", { className: "slider" }, element("span", { textContent: i + 1 }), slider, walk) };
    });
    this.panel.querySelector("#sliders").replaceChildren(...this.sliders.map(({ row }) => row));
  }

  take(code) {
    this.code = code.map(short);
    for (const { slider, coordinate } of this.sliders) slider.value = this.code[coordinate];
  }

  // One request at a time; of what is wanted meanwhile the last one counts.
  async slide() {
    this.wanted = [...this.code];
    if (this.working) return;
    this.working = true;
    while (this.wanted) {
      const code = this.wanted;
      this.wanted = null;
      await this.does.decode([code], true);
    }
    this.working = false;
  }

  // Whatever is no class is drawn from a normal distribution.
  random() {
    const classes = new Set(this.model.code.sliders.filter(({ low }) => low === 0).map(({ coordinate }) => coordinate));
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    this.take(this.code.map((value, i) => (classes.has(i) ? value : normal())));
    return this.does.decode([[...this.code]], false);
  }

  walk(coordinate, low, high) {
    const codes = Array.from({ length: STEPS }, (_, i) => this.code.map((value, j) => (j === coordinate ? short(low + ((high - low) * i) / (STEPS - 1)) : value)));
    return this.does.decode(codes, false);
  }

  // From one piece to another in equal steps.
  async between(first, second) {
    const ends = [];
    for (const piece of [first, second]) {
      if (piece.made.request === "decode" && piece.made.model === this.model.name) ends.push(piece.made.codes[0]);
      else ends.push((await made("/api/encode", { model: this.model.name, piece: piece.id }, () => {})).codes[0]);
    }
    const [a, b] = ends;
    return this.does.decode(Array.from({ length: STEPS }, (_, i) => a.map((value, j) => short(value + ((b[j] - value) * i) / (STEPS - 1)))), false);
  }
}
