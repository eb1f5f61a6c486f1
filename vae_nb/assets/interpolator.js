// Interpolator: two latents, one slider, and the picture that lies between.

// The point at t on the straight line from a to b, or on an arc whose length changes evenly; vae_nb.latent.interpolate computes the same.
function between(a, b, t, spherical) {
  if (!spherical) return a.map((value, i) => (1 - t) * value + t * b[i]);
  const length = (v) => Math.hypot(...v), [la, lb] = [length(a), length(b)];
  const angle = Math.acos(clamp(a.reduce((sum, value, i) => sum + value * b[i], 0) / (la * lb), -1, 1));
  const [from, to] = [Math.sin((1 - t) * angle) / la, Math.sin(t * angle) / lb];
  return a.map((value, i) => ((from * value + to * b[i]) / Math.sin(angle)) * ((1 - t) * la + t * lb));
}

function render({ model, el, signal }) {
  const { root, message, say } = makeRoot(model, el), put = setter(model), network = model.get("network"), shape = model.get("shape");
  const picture = makePicture({ poster: model.get("poster"), alt: model.get("alt"), shape, className: "picture" });
  const end = (poster, name) => make("figure", {}, make("img", { src: poster, alt: `The ${name} of the way`, className: "end dark-light" }), make("figcaption", { textContent: name }));
  const t = slider({
    label: "way", min: 0, max: 1, step: 0.01, get: () => model.get("t"), set: (value) => put({ t: value }),
    said: (value) => `${Math.round(100 * value)} % of the way`,
  });
  const arc = make("input", { type: "checkbox", checked: model.get("spherical") });
  arc.dataset.lmSuppressShortcuts = "true";
  arc.addEventListener("change", () => put({ spherical: arc.checked }));
  const [first, last] = model.get("end_posters");
  root.append(make("div", { className: "way" }, end(first, "start"), make("figure", { className: "pictures" }, ...picture.elements, make("figcaption", { textContent: "between" })), end(last, "end")),
    make("div", { className: "controls" }, ...t.row), make("label", { className: "check", hidden: !model.get("has_arc") }, arc, " along an arc"), message);

  const decode = newestOnly(async () => {
    try {
      const run = await loadNetwork(network, model);
      say("");
      picture.paint(run(between(model.get("a"), model.get("b"), model.get("t"), model.get("spherical"))));
      picture.canvas.ariaLabel = `The picture at ${Math.round(100 * model.get("t"))} % of the way`;
    } catch (error) {
      say(sentenceOf(error));
    }
  });
  const refresh = () => {
    t.refresh();
    arc.checked = model.get("spherical");
  };
  refresh();
  whenTouched(root, () => loadNetwork(network, model).catch((error) => say(sentenceOf(error))));
  return listenWhileShown(model, "change:t change:spherical change:a change:b", () => { refresh(); decode(); }, signal);
}

export default { render };
