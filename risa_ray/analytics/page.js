(function () {
  "use strict";
  var charts = JSON.parse(document.getElementById("charts").textContent);
  function resolved(node, style) {
    if (typeof node === "string") {
      return node.indexOf("var:") === 0 ? style.getPropertyValue(node.slice(4)).trim() : node;
    }
    if (Array.isArray(node)) { return node.map(function (entry) { return resolved(entry, style); }); }
    if (node === null || typeof node !== "object") { return node; }
    return Object.fromEntries(Object.entries(node).map(function (pair) { return [pair[0], resolved(pair[1], style)]; }));
  }
  function draw() {
    var root = document.documentElement;
    var style = getComputedStyle(root);
    Object.keys(charts).forEach(function (id) {
      var chart = resolved(charts[id], style);
      // Printing does not wait for a chart to follow its box, so its width is set there.
      if (root.classList.contains("paper")) { chart.layout.width = document.getElementById(id).clientWidth; }
      Plotly.react(id, chart.data, chart.layout, { displayModeBar: false, responsive: true, scrollZoom: false });
    });
  }
  function paper(on) {
    document.documentElement.classList.toggle("paper", on);
    draw();
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", function () { paper(true); });
  addEventListener("afterprint", function () { paper(false); });
})();
