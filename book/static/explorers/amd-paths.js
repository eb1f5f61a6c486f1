// Loaded between require.js and html-manager: what RequireJS must know to stay on this site.
{
  const here = new URL(".", document.currentScript.src).href;
  requirejs.config({
    paths: {
      "anywidget": here + "manager/anywidget",
      // html-manager is a bundle; these two only tell it where its fonts are
      "@jupyter-widgets/html-manager": here + "manager/html-manager",
      "@jupyter-widgets/html-manager/dist": here + "manager",
    },
  });
}
