// A drawing of a piece on a canvas: layers, bars, where the sound is, and a region that can be dragged.
const TOP = 20;

export class Roll {
  constructor(canvas, marked) {
    this.canvas = canvas;
    this.marked = marked;
    this.hidden = new Set();
    this.region = null;
    this.second = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = this.barAt(event);
      canvas.setPointerCapture(event.pointerId);
      if (from) marked(from, from);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from) marked(Math.min(from, this.barAt(event)), Math.max(from, this.barAt(event)));
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
  }

  show(figure) {
    this.figure = figure;
    this.bars = figure ? [...figure.rules.matchAll(/M([\d.]+) /g)].map((found) => Number(found[1])) : [];
    this.paths = figure ? figure.layers.map((layer) => new Path2D(layer.path)) : [];
    this.images = figure ? figure.layers.map((layer) => this.imageOf(layer)) : [];
    this.draw();
  }

  imageOf(layer) {
    if (!layer.image) return null;
    const image = new Image();
    image.onload = () => this.draw();
    image.src = `data:image/png;base64,${layer.image}`;
    return image;
  }

  barAt(event) {
    const place = this.canvas.getBoundingClientRect();
    const x = (this.figure.width * (event.clientX - place.left)) / place.width;
    return this.bars.filter((bar) => bar <= Math.max(0, x)).length;
  }

  xAt(second) {
    const times = this.figure.times;
    const after = Math.max(1, times.findIndex((time) => time[1] >= second));
    const [a, b] = [times[after - 1], times[after]];
    return a[0] + (b[0] - a[0]) * Math.min(1, Math.max(0, (second - a[1]) / (b[1] - a[1] || 1)));
  }

  draw() {
    const { canvas, figure } = this, ratio = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    if (!figure) return;
    const context = canvas.getContext("2d"), colour = getComputedStyle(canvas).color;
    const across = canvas.width / figure.width, down = (canvas.height - TOP * ratio) / figure.height;
    const within = () => context.setTransform(across, 0, 0, down, 0, TOP * ratio);
    within();
    context.lineWidth = 1;
    context.strokeStyle = colour;
    context.globalAlpha = 0.06;
    context.stroke(new Path2D(figure.ground));
    if (this.region) {
      const [first, last] = this.region, left = this.bars[first - 1] ?? 0, right = this.bars[last] ?? figure.width;
      context.globalAlpha = 0.15;
      context.fillStyle = colour;
      context.fillRect(left, 0, right - left, figure.height);
    }
    context.globalAlpha = 1;
    figure.layers.forEach((layer, i) => {
      if (this.hidden.has(layer.name)) return;
      if (this.images[i]) {
        if (this.images[i].complete) context.drawImage(this.images[i], 0, 0, figure.width, figure.height);
        return;
      }
      context.lineWidth = layer.line;
      context.strokeStyle = context.fillStyle = layer.colour;
      if (layer.line) context.stroke(this.paths[i]);
      else context.fill(this.paths[i]);
    });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = context.strokeStyle = colour;
    context.font = `${12 * ratio}px system-ui`;
    for (const [x, text] of figure.marks) context.fillText(text, x * across + 2, 14 * ratio);
    context.globalAlpha = 0.3;
    for (const x of this.bars) context.fillRect(x * across, TOP * ratio, ratio, canvas.height);
    context.globalAlpha = 1;
    if (this.second !== null && figure.times.length > 1) {
      context.fillRect(this.xAt(this.second) * across - ratio, TOP * ratio, 2 * ratio, canvas.height);
    }
  }
}
