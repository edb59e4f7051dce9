// The tracks of a piece: which are heard, and which a model writes anew.
import { element } from "./form.js";

const box = document.getElementById("tracks");

export function tracks(changed) {
  const muted = new Set(), solo = new Set(), hidden = new Set(), unticked = new Set();
  let keys = []; // of the voices

  function switched(name, of, key, text) {
    const button = element("button", { type: "button", textContent: text });
    button.setAttribute("aria-label", `${text} ${name}`);
    button.setAttribute("aria-pressed", String(of.has(key)));
    button.addEventListener("click", () => {
      if (!of.delete(key)) of.add(key);
      button.setAttribute("aria-pressed", String(of.has(key)));
      changed();
    });
    return button;
  }

  function ticks(name, set, text) {
    const input = element("input", { type: "checkbox", value: name, checked: !set.has(name) });
    input.addEventListener("change", () => {
      if (input.checked) set.delete(name);
      else set.add(name);
      changed();
    });
    return element("label", {}, input, ` ${text}`);
  }

  function row(name, colour, ...parts) {
    const swatch = element("i");
    swatch.style.background = colour;
    return element("div", { className: "track" }, swatch, element("span", { textContent: name, title: name }), ...parts);
  }

  return {
    hidden,
    heard: (voice) => (keys.some((key) => solo.has(key)) ? solo.has(keys[voice]) : !muted.has(keys[voice])),
    ticked: () => [...box.querySelectorAll("input:checked")].map((input) => input.value),
    show(piece, writable) {
      const seen = new Set(), rows = [];
      keys = (piece.score?.voices ?? []).map(({ name }, i) => `${i} ${name}`);
      (piece.score?.voices ?? []).forEach(({ name, colour }, i) => {
        const anew = writable.includes(name) && !seen.has(name);
        seen.add(name);
        rows.push(row(name, colour, switched(name, muted, keys[i], "Mute"), switched(name, solo, keys[i], "Solo"), ...(anew ? [ticks(name, unticked, "anew")] : [])));
      });
      if (piece.score) for (const name of writable) if (!seen.has(name)) rows.push(row(name, "transparent", ticks(name, unticked, "anew")));
      if (!piece.score) for (const { name, colour } of piece.figure?.layers ?? []) rows.push(row(name, colour, ticks(name, hidden, "show")));
      box.parentElement.hidden = !rows.length;
      box.previousElementSibling.textContent = piece.score ? "Tracks" : "Layers";
      box.replaceChildren(...rows);
      changed();
    },
  };
}
