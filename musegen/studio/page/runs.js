// Training runs: their curves as they grow, and their samples.
import { ask, token } from "./api.js";
import { element } from "./form.js";

const EVERY_MS = 2000, WIDTH = 320, HEIGHT = 140;
const COLOURS = ["#4e79a7", "#e15759"];

export class Runs {
  constructor({ at, fail }) {
    Object.assign(this, { at, fail, timer: null, name: "" });
    at("run").addEventListener("change", () => this.look());
  }

  watch(on) {
    clearInterval(this.timer);
    this.timer = on ? setInterval(() => this.look(), EVERY_MS) : null;
    if (on) this.look();
  }

  async look() {
    try {
      const { runs } = await ask("GET", "/api/runs"), list = this.at("run"), chosen = list.value || runs[0]?.name;
      const names = runs.map(({ name }) => name);
      if (names.join("/") !== [...list.options].map((option) => option.value).join("/")) {
        list.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
        list.value = chosen;
      }
      if (!runs.length) return void (this.at("run-about").textContent = "There are no runs here: start the studio with their folders, or with --runs FOLDER.");
      this.show(await ask("GET", `/api/runs/${encodeURIComponent(list.value)}`));
    } catch (error) {
      this.fail(error);
    }
  }

  show(run) {
    this.at("run-about").textContent = `${run.about}, step ${run.step.toLocaleString("en")}${run.steps ? ` of ${run.steps.toLocaleString("en")}` : ""}`;
    const panels = new Map(); // of train and valid the same figure in one panel
    for (const [name, points] of Object.entries(run.curves)) {
      const [kind, ...rest] = name.split(" "), title = rest.join(" ");
      panels.set(title, [...(panels.get(title) ?? []), { kind, points }]);
    }
    this.at("curves").replaceChildren(...[...panels].map(([title, curves]) => this.panel(title, curves)));
    const samples = run.samples.map((step) => `${run.name} ${step}`).join();
    if (samples === this.samples) return;
    this.samples = samples;
    this.at("samples").replaceChildren(...run.samples.slice(-6).reverse().flatMap((step) => [
      element("span", { textContent: `Step ${step.toLocaleString("en")}` }),
      element("img", { src: `/api/runs/${encodeURIComponent(run.name)}/samples/${step}?token=${encodeURIComponent(token)}`, alt: `Samples of step ${step}` }),
    ]));
  }

  panel(title, curves) {
    const points = curves.flatMap((curve) => curve.points), steps = points.map(([step]) => step), values = points.map(([, value]) => value);
    const [left, right] = [Math.min(...steps), Math.max(...steps)], [low, high] = [Math.min(...values), Math.max(...values)];
    const place = ([step, value]) => `${(WIDTH * (step - left)) / (right - left || 1)},${HEIGHT - 4 - ((HEIGHT - 8) * (value - low)) / (high - low || 1)}`;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), short = (value) => Number(value.toPrecision(4));
    const last = curves.map(({ kind, points }) => `${kind} ${short(points.at(-1)[1])}`).join(", ");
    for (const [name, value] of [["viewBox", `0 0 ${WIDTH} ${HEIGHT}`], ["preserveAspectRatio", "none"], ["role", "img"], ["aria-label", `${title}: ${last}`]]) svg.setAttribute(name, value);
    curves.forEach(({ kind, points }) => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
      line.setAttribute("points", points.map(place).join(" "));
      line.setAttribute("stroke", COLOURS[kind === "train" ? 0 : 1]);
      svg.append(line);
    });
    return element("figure", {}, element("figcaption", { textContent: `${title}: ${last} (from ${short(low)} to ${short(high)})` }), svg);
  }
}
