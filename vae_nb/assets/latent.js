// LatentExplorer: move a latent by sliders, on a map, by category or along attribute directions, and see what it decodes to.

const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]; // seaborn's colour-blind palette

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

// A map of two latents: encoded images as dots, and the point that is decoded. Drag it, or use the arrow keys.
function makeMap(model, move) {
  const reach = model.get("map_reach"), y = (value) => (-value).toFixed(3);
  const svg = draw("svg", { viewBox: `${-reach} ${-reach} ${2 * reach} ${2 * reach}`, class: "map", tabindex: 0, role: "application", "aria-roledescription": "map of two latents" });
  svg.dataset.lmSuppressShortcuts = "true";
  for (const radius of [1, 2, 3]) svg.append(draw("circle", { r: radius, class: "ring" }));
  for (const { xy, colour } of model.get("points")) {
    let dots = "";
    for (let i = 0; i < xy.length; i += 2) dots += `M${xy[i]} ${y(xy[i + 1])}h0`; // lines of no length with round ends are dots
    svg.append(draw("path", { d: dots, class: "dots", stroke: COLOURS[colour % COLOURS.length] }));
  }
  for (const { name, middle } of model.get("points")) // names after all dots, so that none is covered
    if (name) svg.append(draw("text", { x: middle[0], y: y(middle[1]), style: `font-size: ${reach / 8}px; stroke-width: ${reach / 45}` }, name));
  const handle = draw("circle", { r: reach / 20, class: "handle" });
  svg.append(handle);
  const clamped = (z) => z.map((value) => Number(clamp(value, -reach, reach).toFixed(3)));
  const drag = (event) => {
    const box = svg.getBoundingClientRect();
    move(clamped([((event.clientX - box.left) / box.width - 0.5) * 2 * reach, (0.5 - (event.clientY - box.top) / box.height) * 2 * reach]));
  };
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); drag(event); });
  svg.addEventListener("pointermove", (event) => svg.hasPointerCapture(event.pointerId) && drag(event));
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    move(clamped(model.get("z").map((value, i) => value + way[i] * (event.shiftKey ? 0.5 : 0.1))));
  });
  const refresh = () => {
    const z = latentOf(model);
    handle.setAttribute("cx", z[0]);
    handle.setAttribute("cy", y(z[1]));
    svg.setAttribute("aria-label", `Map of the latents: z[0] is ${written(z[0])}, z[1] is ${written(z[1])}. Arrow keys move the point.`);
  };
  return { svg, refresh };
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
  const map = model.get("map_reach") ? makeMap(model, (z) => put({ z })) : null;
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
