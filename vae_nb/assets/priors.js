// PriorExplorer: the same map for models with different priors: codes of images, where the prior draws, and what a point decodes to.
// Concatenated after map.js.

function render({ model, el, signal }) {
  const { root, message, say } = makeRoot(model, el), put = setter(model), tell = announcer(root);
  const entries = model.get("entries"), entry = () => entries[model.get("chosen")];
  const picture = makePicture({ poster: model.get("first"), alt: "The picture decoded from where the map starts", shape: model.get("shape"), className: "picture" });
  const map = makeMap({ reach: model.get("map_reach"), at: () => model.get("z"), move: (z) => put({ z }) });
  map.svg.classList.add("large");
  const prior = make("select", { ariaLabel: "prior" }, ...entries.map(({ label }, i) => new Option(label, i)));
  prior.dataset.lmSuppressShortcuts = "true";
  prior.addEventListener("change", () => put({ chosen: Number(prior.value) }));

  let drawn = 0; // draws come from Python, where the prior is
  const sample = () => { const { draws } = entry(); put({ z: draws[drawn++ % draws.length] }); };
  const hint = make("p", { textContent: "Dots are codes of images. The shaded regions, from dark to light, hold half, nine tenths and 99 % of the prior's draws." });
  const note = make("p");
  const panel = make("div", { className: "panel" }, make("div", { className: "controls" }, make("span", { textContent: "prior" }), prior, make("span")), make("div", { className: "buttons" }, button("Draw from the prior", sample)), note, hint);
  root.append(make("div", { className: "side-by-side" }, map.svg, make("div", { className: "pictures" }, ...picture.elements), panel), message);

  let decodes = 0;
  const decode = newestOnly(async () => {
    try {
      const now = entry(), run = await loadNetwork(now.network, model);
      if (now !== entry()) return;
      say("");
      picture.paint(run(model.get("z")));
      root.dataset.decodes = ++decodes;
      picture.canvas.ariaLabel = `The picture that the model with the prior ${now.label} decodes from z = ${model.get("z").map((value) => written(value)).join(", ")}`;
    } catch (error) {
      say(sentenceOf(error));
    }
  });
  const redraw = () => {
    prior.value = model.get("chosen");
    map.show(entry().points, entry().shapes);
    note.textContent = entry().note;
    tell(`${entry().label}. ${entry().note}`);
  };
  redraw();
  map.refresh();
  whenTouched(root, () => loadNetwork(entry().network, model).catch((error) => say(sentenceOf(error))));
  model.on("change:chosen", redraw);
  signal?.addEventListener("abort", () => model.off("change:chosen", redraw));
  return listenWhileShown(model, "change:z change:chosen", () => { map.refresh(); decode(); }, signal);
}

export default { render };
