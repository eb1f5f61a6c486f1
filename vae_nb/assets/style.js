// StyleExplorer: choose what a picture shows and move its style; below it the same style with every other label.

// What the networks can be told, one entry a picture of the row: each class, or y with one attribute changed.
function neighbours(model) {
  const names = model.get("names"), y = model.get("y");
  if (model.get("exclusive")) return names.map((name, i) => ({ name, y: names.map((_, j) => Number(i === j)) }));
  return names.map((name, i) => ({ name: `${y[i] < 0.5 ? "with" : "without"} ${name}`, y: y.map((value, j) => (i === j ? Number(value < 0.5) : value)) }));
}

function labelControls(model, put) {
  const names = model.get("names");
  if (!model.get("exclusive"))
    return names.map((label, i) => slider({ label, min: 0, max: 1, step: 0.05, get: () => model.get("y")[i], set: (value) => put({ y: model.get("y").map((old, j) => (i === j ? value : old)) }) }));
  const input = make("select", { ariaLabel: "class" }, ...names.map((name, i) => new Option(name, i)));
  input.dataset.lmSuppressShortcuts = "true";
  input.addEventListener("change", () => put({ y: names.map((_, i) => Number(i === Number(input.value))) }));
  return [{ row: [make("span", { textContent: "class" }), input, make("span")], refresh: () => (input.value = model.get("y").indexOf(1)) }];
}

// A row of small pictures that can be chosen.
function makeRow(model, put, count) {
  const posters = model.get("posters"), pictures = [];
  const row = make("div", { className: "style-row" });
  for (let i = 0; i < count; i++) {
    const picture = makePicture({ poster: posters[i], alt: "", shape: model.get("shape") });
    const name = make("span"), choose = make("button", { type: "button", className: "style-choice" }, ...picture.elements, name);
    choose.addEventListener("click", () => put({ y: neighbours(model)[i].y }));
    pictures.push({ ...picture, name, choose });
    row.append(choose);
  }
  const refresh = () => neighbours(model).forEach(({ name, y }, i) => {
    pictures[i].name.textContent = name;
    pictures[i].choose.ariaPressed = String(y.every((value, j) => value === model.get("y")[j]));
  });
  return { row, pictures, refresh };
}

function render({ model, el, signal }) {
  const { root, message, say } = makeRoot(model, el), put = setter(model), network = model.get("network");
  const picture = makePicture({ poster: model.get("poster"), alt: model.get("alt"), shape: model.get("shape"), className: "picture" });
  const set = (index, value) => put({ z: model.get("z").map((old, i) => (i === index ? value : old)) });
  const styles = model.get("latents").map(({ index, label }) => slider({ label, min: -4, max: 4, step: 0.01, get: () => model.get("z")[index], set: (value) => set(index, value) }));
  const labels = labelControls(model, put), row = makeRow(model, put, model.get("names").length);

  const starts = model.get("styles"), buttons = make("div", { className: "buttons" },
    button("Random style", () => put({ z: model.get("z").map(() => Number(gaussian().toFixed(3))) })));
  let next = 0;
  if (starts.length > 1) buttons.append(button("Next handwriting", () => put({ z: [...starts[(next = (next + 1) % starts.length)]] })));
  const controls = make("div", { className: "controls" }, ...[...labels, ...styles].flatMap((each) => each.row));
  root.append(make("div", { className: "side-by-side" }, make("div", { className: "pictures" }, ...picture.elements), make("div", { className: "panel" }, controls, buttons)),
    make("p", { textContent: model.get("caption") }), row.row, message);

  let decodes = 0;
  const decode = newestOnly(async () => {
    try {
      const run = await loadNetwork(network, model), z = model.get("z");
      say("");
      picture.paint(run([...z, ...model.get("y")]));
      neighbours(model).forEach(({ y }, i) => row.pictures[i].paint(run([...z, ...y])));
      root.dataset.decodes = ++decodes;
      picture.canvas.ariaLabel = "The picture decoded from the style and the label that are set";
    } catch (error) {
      say(sentenceOf(error));
    }
  });
  const refresh = () => [...labels, ...styles, row].forEach((each) => each.refresh());
  refresh();
  whenTouched(root, () => loadNetwork(network, model).catch((error) => say(sentenceOf(error))));
  return listenWhileShown(model, "change:z change:y", () => { refresh(); decode(); }, signal);
}

export default { render };
