/* The report's charts and its step-through of EM. All text of the user's goes through textContent or escaped(). */
(function () {
  "use strict";
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
  };
  const steps = report.steps;

  function element(id) {
    return document.getElementById(id);
  }

  function escaped(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  /* -- the charts: one after another, so that the page can be read meanwhile ------------------------------------ */

  function drawCharts(done) {
    const places = Array.from(document.querySelectorAll("[data-chart]"));
    function next() {
      const place = places.shift();
      if (!place) {
        done();
        return;
      }
      const chart = report.charts[place.dataset.chart];
      Plotly.newPlot(place, chart.data, Object.assign({ height: chart.height }, chart.layout), config);
      setTimeout(next, 0);
    }
    next();
  }

  /* -- tooltips of terms: one box, kept inside the window -------------------------------------------------------- */

  function tooltips() {
    const tip = element("tip");
    function show(event) {
      const word = event.target.closest && event.target.closest(".term");
      if (!word) {
        return;
      }
      tip.textContent = word.dataset.tip;
      tip.hidden = false;
      const at = word.getBoundingClientRect();
      const left = Math.min(Math.max(8, at.left), window.innerWidth - tip.offsetWidth - 8);
      const below = at.bottom + 6 + tip.offsetHeight < window.innerHeight;
      tip.style.left = Math.max(8, left) + "px";
      tip.style.top = (below ? at.bottom + 6 : at.top - tip.offsetHeight - 6) + "px";
    }
    function hide() {
      tip.hidden = true;
    }
    document.addEventListener("mouseover", show);
    document.addEventListener("focusin", show);
    document.addEventListener("mouseout", hide);
    document.addEventListener("focusout", hide);
    document.addEventListener("scroll", hide, true);
    document.addEventListener("keydown", function (event) {
      if (event.key === "Escape") {
        hide();
      }
    });
  }

  /* -- the step-through ------------------------------------------------------------------------------------------ */

  const axisStyle = { gridcolor: "#E6E9ED", zerolinecolor: "#E6E9ED", linecolor: "#9AA5B1", automargin: true };

  function style(x, y, more) {
    const layout = {
      font: { family: "system-ui, sans-serif", size: 13, color: "#22303C" },
      margin: { l: 52, r: 10, t: 8, b: 44 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      uirevision: "kept",
      showlegend: false,
      hovermode: "closest",
      xaxis: Object.assign({ title: { text: escaped(x) } }, axisStyle),
      yaxis: Object.assign({ title: { text: escaped(y) } }, axisStyle),
    };
    return Object.assign(layout, more);
  }

  function decoded(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) {
      bytes[i] = binary.charCodeAt(i);
    }
    return bytes;
  }

  function rgb(colour) {
    return [1, 3, 5].map(function (i) {
      return parseInt(colour.slice(i, i + 2), 16);
    });
  }

  function extent(values, margin) {
    const seen = values.filter(function (v) {
      return v !== null;
    });
    const low = Math.min.apply(null, seen);
    const high = Math.max.apply(null, seen);
    const room = margin * (high - low) || 1;
    return [low - room, high + room];
  }

  function stepThrough() {
    const K = steps.titles.length;
    const n = steps.x.length;
    const F = steps.frames.length;
    const resp = decoded(steps.resp);
    const palette = steps.colours.map(rgb);
    const names = K > 6 ? steps.briefs : steps.titles; // on the map, where many names would hide each other
    const slider = element("walk-slider");
    const circle = [];
    for (let i = 0; i <= 48; i++) {
      circle.push([Math.cos((Math.PI * i) / 24), Math.sin((Math.PI * i) / 24)]);
    }
    const meanWeight = steps.weight.reduce(function (a, b) { return a + b; }, 0) / n;
    const sizes = steps.weight.map(function (w) {
      return Math.min(26, (n > 400 ? 1 : n > 100 ? 1.2 : 1.6) * (3.5 + 4.5 * Math.sqrt(w / meanWeight)));
    });
    const bin = steps.edges.length ? steps.x.map(whichBin) : [];
    const tallest = steps.edges.length ? highest() : 0;
    let current = 0;
    let timer = null;

    function share(frame, i, k) {
      return resp[(frame * n + i) * K + k] / 255;
    }

    function mixed(frame, i) {
      const sum = [0, 0, 0];
      for (let k = 0; k < K; k++) {
        const r = share(frame, i, k);
        for (let c = 0; c < 3; c++) {
          sum[c] += r * palette[k][c];
        }
      }
      return "rgb(" + sum.map(Math.round).join(",") + ")";
    }

    function told(frame, i) {
      const parts = ["row " + steps.rows[i] + (steps.weight[i] === 1 ? "" : ", weight " + steps.weight[i])];
      for (let k = 0; k < K; k++) {
        parts.push(escaped(steps.titles[k]) + ": " + (100 * share(frame, i, k)).toFixed(0) + " %");
      }
      return parts.join("<br>");
    }

    function whichBin(x) {
      if (x === null || x < steps.edges[0] || x > steps.edges[steps.edges.length - 1]) {
        return -1;
      }
      let b = 0;
      while (b < steps.edges.length - 2 && x >= steps.edges[b + 1]) {
        b++;
      }
      return b;
    }

    function binned(frame) {
      const heights = steps.titles.map(function () {
        return new Array(steps.edges.length - 1).fill(0);
      });
      for (let i = 0; i < n; i++) {
        if (bin[i] >= 0) {
          for (let k = 0; k < K; k++) {
            heights[k][bin[i]] += steps.weight[i] * share(frame, i, k);
          }
        }
      }
      return heights;
    }

    function highest() {
      const total = new Array(steps.edges.length - 1).fill(0);
      bin.forEach(function (b, i) {
        if (b >= 0) {
          total[b] += steps.weight[i];
        }
      });
      return Math.max.apply(null, total);
    }

    function rowsTrace(frame) {
      const colours = [];
      const texts = [];
      for (let i = 0; i < n; i++) {
        colours.push(mixed(frame, i));
        texts.push(told(frame, i));
      }
      return {
        type: "scatter", mode: "markers", x: steps.x, y: steps.y, text: texts,
        hovertemplate: "%{text}<extra></extra>",
        marker: { color: colours, size: sizes, opacity: 0.75, line: { width: 0.5, color: "#fff" } },
      };
    }

    function centre(frame, k) {
      const one = steps.frames[frame];
      return one.outlines ? one.outlines[k].slice(0, 2) : one.centres[k];
    }

    function trail(frame, k) {
      const x = [];
      const y = [];
      for (let f = 0; f <= frame; f++) {
        const at = centre(f, k);
        x.push(at[0]);
        y.push(at[1]);
      }
      return {
        type: "scatter", mode: "lines+markers+text", x: x, y: y, hoverinfo: "skip",
        line: { color: steps.colours[k], width: 1.5, dash: "dot" },
        marker: {
          color: steps.colours[k], symbol: x.map(function (_, f) { return f === frame ? steps.symbols[k] : "circle"; }),
          size: x.map(function (_, f) { return f === frame ? 13 : 3; }),
          line: { width: x.map(function (_, f) { return f === frame ? 2 : 0; }), color: "#22303C" },
        },
        text: x.map(function (_, f) { return f === frame ? escaped(names[k]) : ""; }),
        textposition: "top center",
        textfont: { size: 14, color: "#22303C", weight: 600, shadow: "0 0 4px #fff, 0 0 4px #fff, 0 0 2px #fff" },
      };
    }

    function traces(frame) {
      const one = steps.frames[frame];
      if (steps.kind === "axis") {
        const found = binned(frame).map(function (heights, k) {
          return {
            type: "bar", name: escaped(steps.titles[k]), y: heights,
            x: heights.map(function (_, b) { return (steps.edges[b] + steps.edges[b + 1]) / 2; }),
            width: steps.edges[1] - steps.edges[0],
            marker: { color: steps.colours[k], opacity: 0.5, line: { width: 0 } },
            hovertemplate: "%{x}: %{y:.1f} rows<extra>" + escaped(steps.titles[k]) + "</extra>",
          };
        });
        (one.curves || []).forEach(function (curve, k) {
          found.push({
            type: "scatter", mode: "lines", x: steps.curve_at, y: curve,
            line: { color: steps.colours[k], width: 3, dash: steps.dashes[k] }, hoverinfo: "skip",
          });
        });
        (one.marks || []).forEach(function (at, k) {
          found.push({
            type: "scatter", mode: "lines", x: [at, at], y: [0, tallest],
            line: { color: steps.colours[k], width: 3, dash: steps.dashes[k] }, hoverinfo: "skip",
          });
        });
        return found;
      }
      const found = [rowsTrace(frame)];
      (one.outlines || []).forEach(function (m, k) {
        found.push({
          type: "scatter", mode: "lines", hoverinfo: "skip",
          x: circle.map(function (u) { return m[0] + m[2] * u[0] + m[3] * u[1]; }),
          y: circle.map(function (u) { return m[1] + m[4] * u[0] + m[5] * u[1]; }),
          line: { color: steps.colours[k], width: 3, dash: steps.dashes[k] },
        });
      });
      (one.outlines || one.centres).forEach(function (_, k) {
        found.push(trail(frame, k));
      });
      return found;
    }

    const mainLayout = style(steps.axes[0], steps.axes[1], { barmode: "stack", bargap: 0 });
    if (steps.kind === "axis") {
      mainLayout.yaxis.range = [0, 1.12 * tallest];
    } else {
      mainLayout.xaxis.range = widened(extent(steps.x, 0.08), 0, 2, 3);
      mainLayout.yaxis.range = widened(extent(steps.y, 0.08), 1, 4, 5);
    }
    const traceLayout = style("iteration", "log-likelihood", { margin: { l: 70, r: 10, t: 8, b: 40 } });
    const every = Math.max(1, Math.ceil(F / 8));
    const ticks = steps.frames.map(function (_, f) { return f; }).filter(function (f) { return f % every === 0; });
    traceLayout.xaxis.tickvals = ticks;
    traceLayout.xaxis.ticktext = ticks.map(function (f) { return String(steps.frames[f].iteration); });
    const barsLayout = style("%", "", { barmode: "group", margin: { l: 40, r: 10, t: 8, b: 40 } });
    barsLayout.xaxis.range = [0, 100];
    barsLayout.yaxis.autorange = "reversed";
    barsLayout.yaxis.type = "category";
    const levels = [];
    steps.bars.forEach(function (column) {
      column.levels.forEach(function (level) { levels.push(column.name + ": " + level); });
    });
    barsLayout.yaxis.tickvals = levels.map(escaped);
    barsLayout.yaxis.ticktext = levels.map(function (level) {
      return escaped(level.length > 26 ? level.slice(0, 25) + "…" : level);
    });

    /* room for the outlines of all steps, unless they are far larger than the rows */
    function widened(range, c, a, b) {
      const most = 0.3 * (range[1] - range[0]);
      let low = range[0];
      let high = range[1];
      steps.frames.forEach(function (one) {
        (one.outlines || []).forEach(function (m) {
          const reach = Math.hypot(m[a], m[b]);
          low = Math.min(low, m[c] - reach);
          high = Math.max(high, m[c] + reach);
        });
      });
      return [Math.max(low, range[0] - most), Math.min(high, range[1] + most)];
    }

    /* by step rather than by iteration: the early ones, where most is gained, have as much room as the late ones */
    function traceTraces(frame) {
      const level = steps.frames.map(function (one) { return Number(one.log_likelihood); });
      return [
        {
          type: "scatter", mode: "lines+markers", y: level, marker: { size: 4 },
          text: steps.frames.map(function (one) { return "iteration " + one.iteration; }),
          line: { color: "#51606E", width: 2 }, hovertemplate: "%{text}: %{y:.4f}<extra></extra>",
        },
        {
          type: "scatter", mode: "markers", x: [frame], y: [level[frame]],
          marker: { color: "#D55E00", size: 12, line: { width: 2, color: "#fff" } }, hoverinfo: "skip",
        },
      ];
    }

    function barTraces(frame) {
      const tables = steps.frames[frame].bars || [];
      return steps.titles.slice(0, tables.length ? tables[0].length : 0).map(function (title, k) {
        const x = [];
        steps.bars.forEach(function (column, j) {
          column.levels.forEach(function (_, l) { x.push(100 * tables[j][k][l]); });
        });
        return {
          type: "bar", orientation: "h", x: x, y: barsLayout.yaxis.tickvals, name: escaped(title), marker: { color: steps.colours[k] },
          hovertemplate: "%{y}: %{x:.1f} %<extra>" + escaped(title) + "</extra>",
        };
      });
    }

    /* -- tables: rows of cells, the first a head ---------------------------------------------------------------- */

    /* a component by its colour and name, on a narrow screen by its number */
    function named(cell, k) {
      [["swatch", ""], ["full", steps.titles[k]], ["brief", steps.briefs[k]]].forEach(function (part) {
        const span = document.createElement("span");
        span.className = part[0];
        span.textContent = part[1];
        cell.appendChild(span);
      });
      cell.firstChild.style.background = steps.colours[k];
    }

    function table(id, head, rows, isOfComponents) {
      const whole = element(id);
      whole.textContent = "";
      const top = whole.createTHead().insertRow();
      head.forEach(function (text) {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = text;
        top.appendChild(cell);
      });
      const body = whole.createTBody();
      rows.forEach(function (row, k) {
        const line = body.insertRow();
        row.forEach(function (text, i) {
          const cell = document.createElement(i === 0 ? "th" : "td");
          if (i === 0 && isOfComponents) {
            named(cell, k);
          } else {
            cell.textContent = text;
          }
          line.appendChild(cell);
        });
      });
    }

    function numbers(frame) {
      const one = steps.frames[frame];
      const percent = function (p) { return (100 * p).toFixed(2) + " %"; };
      table("walk-e", ["", "proportion", "× density", "= joint", "→ probability"], one.example.map(function (v, k) {
        return [steps.titles[k], one.shares[k].toPrecision(4), v[0], v[1], v[2]];
      }), true);
      table("walk-counts", ["", "proportion", "expected rows"], one.counts.map(function (count, k) {
        return [steps.titles[k], percent(one.shares[k]), count];
      }), true);
      table("walk-m", ["parameter"].concat(steps.titles), steps.lines.map(function (line, i) {
        return [line.parameter.replace(/_/g, " ") + " = " + line.text].concat(one.work[i]);
      }));
    }

    function show(frame) {
      current = Math.max(0, Math.min(F - 1, frame));
      const one = steps.frames[current];
      slider.value = String(current);
      const last = steps.frames[F - 1].iteration;
      const text = "Iteration " + one.iteration + " of " + last;
      element("walk-iteration").textContent = one.iteration === 0 ? text + " (the start)" : text;
      element("walk-loglik").textContent =
        "log-likelihood " + one.log_likelihood + (one.gain === null ? "" : " (gained " + one.gain + ")");
      slider.setAttribute("aria-valuetext", text + ", log-likelihood " + one.log_likelihood);
      Plotly.react("walk-plot", traces(current), mainLayout, config);
      Plotly.react("walk-trace", traceTraces(current), traceLayout, config);
      if (steps.bars.length) {
        Plotly.react("walk-bars", barTraces(current), barsLayout, config);
      }
      numbers(current);
    }

    function pause() {
      clearInterval(timer);
      timer = null;
      element("walk-play").textContent = "Play";
    }

    function play() {
      if (timer !== null) {
        pause();
        return;
      }
      if (current === F - 1) {
        show(0);
      }
      element("walk-play").textContent = "Pause";
      timer = setInterval(function () {
        show(current + 1);
        if (current === F - 1) {
          pause();
        }
      }, 600);
    }

    function go(frame) {
      pause();
      show(frame);
    }

    slider.max = String(F - 1);
    slider.addEventListener("input", function () { go(Number(slider.value)); });
    element("walk-first").addEventListener("click", function () { go(0); });
    element("walk-back").addEventListener("click", function () { go(current - 1); });
    element("walk-on").addEventListener("click", function () { go(current + 1); });
    element("walk-last").addEventListener("click", function () { go(F - 1); });
    element("walk-play").addEventListener("click", play);
    document.addEventListener("keydown", function (event) {
      const target = event.target;
      const isInside = element("walk").contains(target);
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || isElsewhere(target)) {
        return;
      }
      const arrows = { ArrowLeft: current - 1, ArrowRight: current + 1 };
      const to = (isInside ? Object.assign(arrows, { Home: 0, End: F - 1 }) : arrows)[event.key];
      if (to !== undefined && target !== slider && (isInside || isInSight(element("walk-plot")))) {
        event.preventDefault();
        go(to);
      } else if (event.key === " " && isInside && target.tagName !== "BUTTON") {
        event.preventDefault();
        play();
      }
    });

    /* where the same keys do something else: in what is typed into or scrolls sideways */
    function isElsewhere(target) {
      const place = target.closest && target.closest("input, textarea, select, [contenteditable], .scroll");
      return Boolean(place) && place !== slider;
    }

    function isInSight(one) {
      const box = one.getBoundingClientRect();
      return box.top < window.innerHeight && box.bottom > 0;
    }

    element("walk-note").textContent = steps.note;
    element("walk-all").textContent = "Added up over " + steps.all_rows + ":";
    element("walk-left").textContent =
      steps.n_lines_left ? "and " + steps.n_lines_left + " more lines of this kind" : "";
    element("walk-example").textContent =
      "One row worked, number " + steps.example.row + ": " + steps.example.cells + ".";
    if (!steps.bars.length) {
      element("walk-bars").style.display = "none";
      element("walk-trace").style.height = "300px";
    } else {
      const bars = steps.bars.reduce(function (sum, column) { return sum + column.levels.length; }, 0);
      element("walk-bars").style.height = Math.min(640, Math.max(220, 60 + 9 * bars * (K + 1))) + "px";
    }
    show(0);
    element("walk-trace").on("plotly_click", function (event) {
      go(event.points[0].x);
    });
  }

  tooltips();
  drawCharts(function () {
    if (steps) {
      stepThrough();
    }
    document.documentElement.dataset.drawn = "true";
  });
  /* on paper: charts as wide as a page, and nothing folded away */
  const paper = 620;
  let folded = [];
  window.addEventListener("beforeprint", function () {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    folded.forEach(function (one) { one.open = true; });
    document.querySelectorAll(".js-plotly-plot").forEach(function (plot) {
      Plotly.relayout(plot, { width: paper, autosize: false });
    });
  });
  window.addEventListener("afterprint", function () {
    folded.forEach(function (one) { one.open = false; });
    document.querySelectorAll(".js-plotly-plot").forEach(function (plot) {
      Plotly.relayout(plot, { width: null, autosize: true });
    });
  });
})();
