// LatentExplorer: move a latent by sliders, on a map, by category or along attribute directions, and see what it decodes to.

// An attribute may be called "constructor", which every object has: only what was set counts.
function strengthOf(model, name) {
  const strengths = model.get("strengths");
  return Object.hasOwn(strengths, name) ? strengths[name] : 0;
}

// What the decoder gets: z, moved along every attribute direction by its strength.
function latentOf(model) {
  const z = [...model.get("z")];
  for (const { name, vector } of model.get("directions"))
    vector.forEach((v, i) => (z[i] += strengthOf(model, name) * v));
  return z;
}

// One slider for a latent, one for an attribute: what they show and what they change.
function latentSliders(model, put) {
  const reach = model.get("reach");
  const set = (index, value) => put({ z: model.get("z").map((old, i) => (i === index ? value : old)) });
  return model.get("latents").map(({ index, label }) => slider({ label, min: -reach, max: reach, step: 0.01, get: () => model.get("z")[index], set: (value) => set(index, value) }));
}

function directionSliders(model, put) {
  return model.get("directions").map(({ name, limit }) => slider({
    label: name, min: -limit, max: limit, step: 0.05, get: () => strengthOf(model, name),
    set: (value) => put({ strengths: { ...model.get("strengths"), [name]: value } }),
  }));
}

// A draw from the prior: Gaussian numbers, and one category of each categorical.
function drawFromPrior(model) {
  const draws = model.get("draws"); // of a prior that learned: Python has made them
  if (draws.length) return [...draws[Math.floor(Math.random() * draws.length)]];
  const z = model.get("z").map(gaussian);
  for (const { start, names } of model.get("categoricals")) {
    const chosen = Math.floor(Math.random() * names.length);
    names.forEach((_, i) => (z[start + i] = Number(i === chosen)));
  }
  return z.map((value) => Number(value.toFixed(3)));
}

function render({ model, el, signal }) {
  const { root, message, say } = makeRoot(model, el), put = setter(model);
  const picture = makePicture({ poster: model.get("poster"), alt: model.get("alt"), shape: model.get("shape"), className: "picture" });
  const network = model.get("network");
  const map = model.get("map_reach") ? makeMap({ reach: model.get("map_reach"), at: () => latentOf(model), z: () => model.get("z"), move: (z) => put({ z }) }) : null;
  map?.show(model.get("points"));
  const rows = [...categoryPickers(model, put), ...directionSliders(model, put), ...latentSliders(model, put)];

  const start = { z: [...model.get("z")], strengths: {} };
  const copy = async () => {
    const text = `[${latentOf(model).map((value) => Number(value.toFixed(4))).join(", ")}]`;
    try {
      await copyText(text);
      say("Copied z.");
    } catch {
      say(`z = ${text}`);
    }
  };
  const buttons = make("div", { className: "buttons" }, button("Reset", () => put(structuredClone(start))),
    button("Random sample", () => put({ z: drawFromPrior(model), strengths: {} })), button("Copy z", copy));
  const controls = make("div", { className: "controls" }, ...rows.flatMap(({ row }) => row));
  root.append(make("div", { className: "side-by-side" }, make("div", { className: "pictures" }, ...picture.elements), ...(map ? [map.svg] : []),
    make("div", { className: "panel" }, controls, buttons)), message);

  let decodes = 0;
  const decode = newestOnly(async () => {
    try {
      const run = await loadNetwork(network, model);
      say("");
      picture.paint(run(latentOf(model)));
      root.dataset.decodes = ++decodes;
      picture.canvas.ariaLabel = `The picture decoded from z = ${latentOf(model).slice(0, 8).map((value) => written(value)).join(", ")}${model.get("z").length > 8 ? ", …" : ""}`;
    } catch (error) {
      say(sentenceOf(error));
    }
  });
  const refresh = () => [...rows, ...(map ? [map] : [])].forEach((each) => each.refresh());
  refresh();
  whenTouched(root, () => loadNetwork(network, model).catch((error) => say(sentenceOf(error))));
  return listenWhileShown(model, "change:z change:strengths", () => { refresh(); decode(); }, signal);
}

export default { render };
