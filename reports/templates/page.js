// Draws the plots; vl-convert puts vegaEmbed before it. `ast`: expressions are interpreted, since the page forbids eval.
const specs = JSON.parse(document.getElementById("charts").textContent);
const how = {
  mode: "vega-lite",
  renderer: "svg",
  ast: true,
  actions: false,
  defaultStyle: false,
  tooltip: { disableDefaultStyle: true },
};
for (const [id, spec] of Object.entries(specs)) {
  const place = document.getElementById(id);
  vegaEmbed(place, spec, how).then(
    () => place.setAttribute("data-drawn", "yes"),
    (error) => console.error(id, error),
  );
}
