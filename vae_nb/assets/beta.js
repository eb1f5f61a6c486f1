// BetaExplorer: the same pictures through models trained with different weights of the KL, from autoencoder to collapse.

// A row of pictures on one canvas, with a poster.
function makeRow({ poster, alt, shape, count }) {
  const [channels, height, width] = shape, row = makePicture({ poster, alt, shape: [channels, height, width * count], className: "row" });
  const context = row.canvas.getContext("2d"), pixels = context.createImageData(width, height), size = width * height;
  const paintOne = (place, values) => {
    for (let i = 0; i < 4 * size; i++) pixels.data[i] = i % 4 === 3 ? 255 : 255 * values[(channels === 3 ? (i % 4) * size : 0) + (i >> 2)];
    context.putImageData(pixels, place * width, 0);
  };
  return { ...row, paintOne };
}

function numbersTable() {
  const cells = {}, line = (name, text) => make("tr", {}, make("th", { scope: "row", textContent: text }), (cells[name] = make("td", { className: "number" })));
  const table = make("table", {}, line("recon", "reconstruction, nats"), line("kl", "KL, nats"), line("active", "active latents"));
  return { table, refresh: (entry) => Object.entries(cells).forEach(([name, cell]) => (cell.textContent = entry[name])) };
}

function render({ model, el, signal }) {
  const { root, message, say } = makeRoot(model, el), put = setter(model), shape = model.get("shape");
  const entries = model.get("entries"), entry = () => entries[model.get("chosen")], count = model.get("count");
  const posters = model.get("posters"), strip = (poster, alt) => makeRow({ poster, alt, shape, count });
  const originals = make("img", { src: posters.originals, alt: "The pictures", className: "row dark-light" });
  const reconstructions = strip(posters.reconstructions, "Their reconstructions"), samples = strip(posters.samples, "Pictures decoded from the prior");
  const table = numbersTable();
  const beta = slider({
    label: "β", min: 0, max: entries.length - 1, step: 1, get: () => model.get("chosen"), set: (value) => put({ chosen: value }), shown: () => entry().label,
    said: () => `beta ${entry().label}: reconstruction ${entry().recon}, KL ${entry().kl} nats, ${entry().active} active latents`,
  });

  // Noise that is drawn once and kept, so that only beta changes from picture to picture.
  let noise = null;
  const codes = () => entry().mu.map((mu, i) => (noise ? mu.map((value, j) => value + entry().sigma[i][j] * noise[i][j]) : mu));
  const decode = newestOnly(async () => {
    try {
      const now = entry(), run = await loadNetwork(now.network, model);
      if (now !== entry()) return;
      say("");
      codes().forEach((z, i) => reconstructions.paintOne(i, run(z)));
      model.get("noise").forEach((z, i) => samples.paintOne(i, run(z.slice(0, now.network.inputs[0]))));
      for (const row of [reconstructions, samples]) [row.canvas.hidden, row.still.hidden] = [false, true];
    } catch (error) {
      say(sentenceOf(error));
    }
  });
  const redraw = () => {
    noise = model.get("noise").map((z) => z.map(gaussian)); // as wide as the widest model
    put({ noise: model.get("noise").map((z) => z.map(() => Number(gaussian().toFixed(3)))) });
    decode();
  };
  const figure = (text, ...parts) => make("figure", {}, make("figcaption", { textContent: text }), ...parts);
  root.append(make("div", { className: "controls" }, ...beta.row), figure("pictures", originals), figure("reconstructions", ...reconstructions.elements),
    figure("samples from the prior", ...samples.elements), make("div", { className: "buttons" }, button("Draw every z again", redraw), button("Means only", () => { noise = null; decode(); })), table.table, message);

  const refresh = () => {
    beta.refresh();
    table.refresh(entry());
  };
  refresh();
  whenTouched(root, () => loadNetwork(entry().network, model).catch((error) => say(sentenceOf(error))));
  return listenWhileShown(model, "change:chosen change:noise", () => { refresh(); decode(); }, signal);
}

export default { render };
