// A form for the options of a model, made of what the studio says about them.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function fields(options) {
  return options.map((option) => {
    const choices = option.type.includes(" | ") && !/\b(int|float|str|dict|list)\b/.test(option.type) ? option.type.split(" | ") : null;
    const now = option.default || "as the model has it";
    const input = choices || option.type === "bool"
      ? element("select", {}, element("option", { value: "", textContent: now }), ...(choices ?? ["True", "False"]).map((text) => element("option", { textContent: text })))
      : element("input", { placeholder: now });
    input.name = option.option;
    return element("label", {}, option.option.replaceAll("_", " "), input, element("small", { textContent: option.meaning }));
  });
}

// What a user has filled in, in the types of a request: `Piano=5,Bass=33` is a mapping.
export function values(form) {
  const found = {};
  for (const input of form.querySelectorAll("[name]")) {
    const text = input.value.trim();
    if (!text) continue;
    const pairs = text.split(",").map((part) => part.split("="));
    found[input.name] = pairs.every((pair) => pair.length === 2) ? Object.fromEntries(pairs.map(([a, b]) => [a.trim(), b.trim()])) : text;
  }
  return found;
}
