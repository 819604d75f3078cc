// The three charts. Plotly weighs 1.5 MB: it is fetched after the figures are on the screen, and drawn with once it is there.
"use strict";
const charts = (() => {
  const wall = document.getElementById("wall");
  const pending = new Map();
  let loading = null;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function load() {
    loading ??= new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = wall.dataset.plotly;
      script.addEventListener("load", resolve);
      document.head.append(script);
    });
    return loading;
  }

  // Four round steps from 0 to the greatest value.
  function steps(values, format) {
    const greatest = Math.max(...values, 1e-9);
    const rough = greatest / 3;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const tickvals = Array.from({ length: Math.ceil(greatest / step) + 1 }, (_, n) => n * step);
    return { tickvals, ticktext: tickvals.map(format), range: [0, tickvals.at(-1) * 1.04] };
  }

  function layout(place, traces, format) {
    const values = traces.flatMap((trace) => trace.y).filter((y) => y !== null);
    const size = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.82;
    const axis = { color: color("--soft"), gridcolor: color("--edge"), zeroline: false, fixedrange: true };
    return {
      width: place.clientWidth,
      height: place.clientHeight,
      margin: { l: size * 4, r: size * 0.6, t: size * 0.6, b: size * 1.8 },
      font: { size, family: getComputedStyle(document.body).fontFamily, color: color("--soft") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: false,
      bargap: 0.18,
      barmode: "stack",
      dragmode: false,
      hovermode: "x unified",
      hoverlabel: { bgcolor: color("--ground"), bordercolor: color("--edge"), font: { color: color("--text") } },
      xaxis: { ...axis, type: "date", tickformat: "%H:%M", nticks: 7, showgrid: false, hoverformat: "%H:%M" },
      yaxis: { ...axis, ...steps(values, format) },
    };
  }

  function draw(place) {
    const { traces, format, colors } = pending.get(place);
    const painted = traces.map((trace, n) => trace.paint(color(colors[n])));
    Plotly.react(place, painted, layout(place, painted, format), { displayModeBar: false, responsive: false });
  }

  // `place` an element, `traces` objects with paint(color) -> a Plotly trace, `colors` names of CSS variables, `format` of the y axis.
  function show(place, traces, colors, format) {
    pending.set(place, { traces, colors, format });
    if (window.Plotly) draw(place);
  }

  const all = () => window.Plotly && pending.forEach((_, place) => place.clientWidth && draw(place));
  let resized = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(resized);
    resized = requestAnimationFrame(all);
  }).observe(wall);
  document.documentElement.addEventListener("themechange", all);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  return { show, start: () => load().then(all) };
})();
