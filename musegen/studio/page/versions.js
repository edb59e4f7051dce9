// Versions side by side: a small drawing of each, of which one is at hand.
import { address } from "./api.js";
import { element } from "./form.js";

const WIDTH = 168, HEIGHT = 44;

export function versions(pieces, chosen, choose) {
  return pieces.map((piece, i) => {
    const box = element("input", { type: "radio", name: "version", value: piece.id, checked: piece.id === chosen });
    box.addEventListener("change", () => choose(piece.id));
    const label = element("label", { className: piece.score ? "" : "pictured" }, box, ` ${i + 1}`, piece.score ? drawing(piece.score) : picture(piece));
    return label;
  });
}

function picture(piece) {
  return element("img", { src: address(piece.id, "picture"), alt: "" });
}

function drawing(score) {
  const ratio = devicePixelRatio || 1, canvas = element("canvas", { width: WIDTH * ratio, height: HEIGHT * ratio }), pen = canvas.getContext("2d");
  const low = score.notes.reduce((least, note) => Math.min(least, note[3]), 127), high = score.notes.reduce((most, note) => Math.max(most, note[3]), low + 12);
  const across = canvas.width / score.end, row = canvas.height / (high - low + 1);
  score.voices.forEach((voice, i) => {
    pen.fillStyle = voice.colour;
    for (const [of, first, last, pitch] of score.notes) {
      if (of === i) pen.fillRect(first * across, (high - pitch) * row, Math.max(1, (last - first) * across - 0.5), Math.max(1, row - 0.5));
    }
  });
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}
