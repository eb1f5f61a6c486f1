// The lab's exercises: what to do, and a check of what the reader has found. Concatenated after ideas.js, before lab_page.js.

const DEAD = 0.1; // nats: a latent below it carries next to nothing
const SETTLED = 400; // steps after the last change before a run counts

const aliveIn = (kl) => kl.filter((value) => value >= DEAD).length;

// The largest β at which two latents were alive and the smallest at which fewer were, among those that were trained long enough.
function judgeThreshold(seen) {
  const [two, fewer] = [true, false].map((alive) => [...seen].filter(([, n]) => n >= 2 === alive).map(([beta]) => beta));
  const low = Math.max(...two), high = Math.min(...fewer);
  if (!two.length && !fewer.length) return `Train for ${SETTLED} steps at one β, without a bug and with two latents; then press Check.`;
  if (!fewer.length) return `Both latents are alive up to β = ${written(low)}. Raise β, and train for ${SETTLED} steps.`;
  if (!two.length) return `At β = ${written(high)} fewer than two latents are alive. Lower β, and train for ${SETTLED} steps.`;
  if (low > high) return `Both latents were alive at β = ${written(low)} and not at β = ${written(high)}: a run depends on where it starts. Press Reset before you train at another β.`;
  if (high / low > 1.5) return `Two latents are alive at β = ${written(low)}, fewer at β = ${written(high)}: the threshold lies between. Try a β from there.`;
  return `Right: the second latent dies between β = ${written(low)} and β = ${written(high)}. Above it, a latent costs more KL, times β, than it saves in reconstruction.`;
}

function judgeCollapse({ kl, step }) {
  const total = kl.reduce((a, b) => a + b, 0);
  if (step < SETTLED) return `Train for ${SETTLED} steps first.`;
  if (total < DEAD) return `Right: the KL is ${written(total)} nats. The encoder says the same about every image, so the decoder draws the average one.`;
  return `The KL is ${written(total)} nats: the map still tells images apart. What makes the KL more expensive than what it buys?`;
}

// `begun`: the settings that the lab was opened with.
function makeExercises({ begun, reset, go, hide, bugs }) {
  const seen = new Map(); // β → latents alive
  let latest = null, secret = null;
  const answer = () => { const said = make("p", { className: "verdict" }); said.setAttribute("role", "status"); return said; };
  const task = (text, said, ...parts) => make("section", {}, make("p", { textContent: text }), make("div", { className: "buttons" }, ...parts), said);
  const [threshold, collapse, found] = [answer(), answer(), answer()];
  const guess = make("select", { ariaLabel: "Which bug is on?" }, ...Object.entries(bugs).filter(([name]) => name !== "autoencoder").map(([name, [text]]) => new Option(text, name)));
  guess.dataset.lmSuppressShortcuts = "true";
  const names = [...guess.options].map((option) => option.value);
  const start = () => {
    secret = names[Math.floor(Math.random() * names.length)];
    latest = null;
    found.textContent = "A bug is on, or none. Compare the columns of the table, the sum of its first two rows with the loss, the band of the curve, and the map.";
    hide(secret);
    reset({ ...begun, bug: secret, beta: 1, data: "images", likelihood: "bernoulli", latents: 2 });
    go();
  };
  const tell = () => {
    if (!secret) return (found.textContent = "Press “Hide a bug” first.");
    if ((latest?.step ?? 0) < SETTLED) return (found.textContent = `Train for ${SETTLED} steps first.`);
    if (guess.value !== secret) return (found.textContent = `It is not that one. ${bugs[guess.value][1]}`);
    found.textContent = `Right: ${bugs[secret][0]}. ${bugs[secret][1]}`;
    secret = null;
    hide(null);
  };
  const element = make("details", {}, make("summary", { textContent: "Exercises" }),
    task("1. Find the β at which the second latent dies: to a factor of 1.5, starting anew for each β.", threshold, button("Check", () => (threshold.textContent = judgeThreshold(seen)))),
    task("2. Make the map collapse: the KL below 0.1 nats, whatever the images.", collapse, button("Check", () => (collapse.textContent = latest ? judgeCollapse(latest) : "Train first."))),
    task("3. Which bug is on?", found, button("Hide a bug", start), guess, button("It is this one", tell)));
  let network = ""; // evidence of another one does not count
  const see = (state) => {
    latest = state;
    const { bug, latents, data, beta, likelihood, width, activation } = state.settings, now = [likelihood, width, activation].join();
    if (now !== network) seen.clear();
    network = now;
    if (bug === "none" && latents === 2 && data === "images" && state.settled >= SETTLED) seen.set(beta, aliveIn(state.kl));
  };
  return { element, see };
}
