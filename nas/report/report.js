"use strict";
// Draws the figures in the colours of the scheme, again when the scheme changes, and serves the copy buttons.
(() => {
  const panels = JSON.parse(document.getElementById("figure-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 620px)");
  const touch = matchMedia("(pointer: coarse)");

  // "@accent" becomes the value of --accent; a text that names no colour stays as it is.
  const paint = (value, style) => {
    if (typeof value === "string" && value.startsWith("@"))
      return style.getPropertyValue("--" + value.slice(1)).trim() || value;
    if (Array.isArray(value)) return value.map((item) => paint(item, style));
    if (value !== null && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, paint(item, style)]));
    return value;
  };

  const axis = (own = {}) => ({
    gridcolor: "@line",
    linecolor: "@line",
    zerolinecolor: "@line",
    tickcolor: "@line",
    automargin: true,
    tickfont: { size: 12, color: "@muted" },
    ...own,
    title: { standoff: 8, ...own.title, font: { size: 13, color: "@muted" } },
  });

  const layout = (own) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: "@panel", bordercolor: "@line", align: "left", font: { color: "@ink", size: 13 } },
    hovermode: "closest",
    dragmode: touch.matches ? false : "zoom",
    ...own,
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: "@ink" },
    legend: { font: { size: 12, color: "@muted" }, ...own.legend },
    margin: { t: own.legend ? (narrow.matches ? 56 : 32) : 8, r: 12, b: 44, l: 44, ...own.margin },
    xaxis: axis(own.xaxis),
    yaxis: axis(own.yaxis),
  });

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const settings = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset" };
    const drawn = Object.entries(panels).map(([name, panel]) =>
      Plotly.react(name, paint(panel.data, style), paint(layout(panel.layout), style), settings));
    return Promise.all(drawn).then(() => { document.documentElement.dataset.drawn = drawn.length; });
  };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };

  for (const button of document.querySelectorAll("[data-copies]"))
    button.addEventListener("click", () => copy(button));
  for (const query of [dark, narrow]) query.addEventListener("change", draw);
  draw();
})();
