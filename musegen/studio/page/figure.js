// A drawing of a piece that has no notes, as of a sound: layers, and where the sound is.
import { between } from "./roll.js";

export class Figure {
  constructor(canvas, sought) {
    Object.assign(this, { canvas, hidden: new Set(), figure: null, second: null });
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("click", (event) => {
      if (!this.figure || this.figure.times.length < 2) return;
      const place = canvas.getBoundingClientRect();
      sought(between(this.figure.times, (this.figure.width * (event.clientX - place.left)) / place.width, 0, 1));
    });
  }

  show(figure) {
    this.figure = figure;
    this.second = null;
    this.paths = (figure?.layers ?? []).map((layer) => new Path2D(layer.path));
    this.images = (figure?.layers ?? []).map((layer) => this.imageOf(layer));
    this.draw();
  }

  imageOf(layer) {
    if (!layer.image) return null;
    const image = new Image();
    image.onload = () => this.draw();
    image.src = `data:image/png;base64,${layer.image}`;
    return image;
  }

  draw() {
    const { canvas, figure } = this, ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    if (!figure) return;
    const pen = canvas.getContext("2d"), colour = getComputedStyle(canvas).color, across = canvas.width / figure.width;
    pen.setTransform(across, 0, 0, canvas.height / figure.height, 0, 0);
    figure.layers.forEach((layer, i) => {
      if (this.hidden.has(layer.name)) return;
      if (this.images[i]) {
        if (this.images[i].complete) pen.drawImage(this.images[i], 0, 0, figure.width, figure.height);
        return;
      }
      pen.lineWidth = layer.line;
      pen.strokeStyle = pen.fillStyle = layer.colour;
      if (layer.line) pen.stroke(this.paths[i]);
      else pen.fill(this.paths[i]);
    });
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = this.images.some(Boolean) ? "white" : colour;
    if (this.second !== null && figure.times.length > 1) {
      pen.fillRect(between(figure.times, this.second, 1, 0) * across - ratio, 0, 2 * ratio, canvas.height);
    }
  }
}
