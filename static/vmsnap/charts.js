// Draws the charts of a page from the numbers that stand beside them. The numbers are in a table too, with the same links:
// nothing can be learnt or reached here alone.
(() => {
  "use strict";

  const root = document.documentElement;

  // --- colours: those of the page, as they are at this moment --------------------------------------------------------

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  // A property of the style sheet, such as light-dark(…), made into a colour.
  function colour(name) {
    probe.style.color = `var(--${name})`;
    return window.getComputedStyle(probe).color;
  }

  function palette() {
    const names = ["ink", "quiet", "line", "surface", "warn", "bad"];
    const tones = ["volumes", "estimate", "measured", "free", "used", "other"];
    const found = {};
    for (const name of names) found[name] = colour(name);
    for (const tone of tones) found[tone] = colour(`chart-${tone}`);
    found.shades = [1, 2, 3, 4, 5, 6].map((number) => colour(`chart-part-${number}`));
    found.onShades = colour("chart-on-part");
    return found;
  }

  // --- numbers in words ----------------------------------------------------------------------------------------------

  const BINARY = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const unitOf = (power, numbers) => BINARY[power] + (numbers.unit === "byte-hours" ? " hours" : "");

  function powerOf(value) {
    let power = 0;
    for (let rest = Math.abs(value); rest >= 1024 && power < BINARY.length - 1; rest /= 1024) power += 1;
    return power;
  }

  const rounded = (value) => value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 10 ? 2 : 1 });

  function inWords(value, numbers) {
    if (value === null || value === undefined) return "not known";
    const power = powerOf(value);
    return `${rounded(value / 1024 ** power)} ${unitOf(power, numbers)}`;
  }

  function moment(text, withTime) {
    const at = new Date(text);
    const day = at.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
    if (!withTime) return day;
    return `${day}, ${at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" })}`;
  }

  // --- rows of numbers ---------------------------------------------------------------------------------------------------

  function heights(row, numbers) {
    const below = numbers.series.find((other) => other.name === row.upon);
    return row.values.map((value, place) => (value === null || !below ? value : value + (below.values[place] || 0)));
  }

  const alone = (row) => row.drawn === "line" || row.drawn === "mark";

  // The ticks of an axis are round in the unit that is written there, not in bytes.
  function scaleOf(numbers) {
    const sums = numbers.labels.map((_, place) =>
      numbers.series.reduce((sum, row) => (alone(row) ? sum : sum + (row.values[place] || 0)), 0),
    );
    const lines = numbers.series.flatMap((row) => (alone(row) ? heights(row, numbers) : []));
    const power = powerOf(Math.max(1, ...sums, ...lines, ...numbers.thresholds.map((line) => line.value)));
    return { by: 1024 ** power, unit: unitOf(power, numbers) };
  }

  function seriesOf(numbers, scale, colours) {
    const few = numbers.labels.length < 2;
    return numbers.series.map((row) => {
      const values = heights(row, numbers).map((value) => (value === null ? null : value / scale.by));
      const data = numbers.time ? values.map((value, place) => [numbers.labels[place], value]) : values;
      const tone = colours[row.tone];
      if (row.drawn === "bar") {
        return { name: row.name, type: "bar", stack: "all", data, itemStyle: { color: tone }, barMaxWidth: 48 };
      }
      if (row.drawn === "mark") {
        return { name: row.name, type: "scatter", data, symbol: "diamond", symbolSize: 13, itemStyle: { color: tone }, z: 4 };
      }
      const line = { name: row.name, type: "line", data, symbol: "circle", symbolSize: 6, showSymbol: few };
      line.itemStyle = { color: tone };
      if (numbers.stepped) line.step = "end";
      if (row.drawn === "line") return { ...line, lineStyle: { color: tone, width: 2, type: "dashed" }, z: 4 };
      return { ...line, stack: "all", lineStyle: { color: tone, width: 1 }, areaStyle: { color: tone, opacity: 0.75 } };
    });
  }

  function thresholdLines(numbers, scale, colours) {
    const tones = { warning: colours.warn, over: colours.bad, size: colours.ink };
    return {
      silent: true,
      symbol: "none",
      data: numbers.thresholds.map((line) => ({
        yAxis: line.value / scale.by,
        lineStyle: { color: tones[line.kind], width: 1.5, type: line.kind === "size" ? "solid" : "dashed" },
        label: {
          formatter: line.name,
          position: line.kind === "over" ? "insideEndBottom" : "insideStartTop",
          color: tones[line.kind],
          textBorderColor: colours.surface,
          textBorderWidth: 3,
        },
      })),
    };
  }

  function tipOfSeries(numbers) {
    return (points) => {
      const place = points[0].dataIndex;
      const label = numbers.labels[place];
      const lines = numbers.series.map((row) => `${row.name}: ${inWords(row.values[place], numbers)}`);
      return [numbers.time ? moment(label, true) : label, ...lines].join("\n");
    };
  }

  // Along with the wheel's own key, so that the wheel alone scrolls the page.
  function zooms(numbers, colours) {
    if (!numbers.zoom || numbers.labels.length < 3) return [];
    const slider = { type: "slider", height: 22, bottom: 8, borderColor: colours.line, showDetail: false, brushSelect: false };
    return [{ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseMove: "ctrl", moveOnMouseWheel: false }, slider];
  }

  // The legend breaks its lines by itself but does not push the picture down.
  function legendHeight(numbers, width) {
    let lines = 1;
    let used = 0;
    for (const row of numbers.series) {
      const length = row.name.length * 7 + 54;
      if (used && used + length > width) {
        lines += 1;
        used = 0;
      }
      used += length;
    }
    return 25 * lines + 24;
  }

  function labelAxis(numbers, colours, width) {
    const look = { axisLine: { lineStyle: { color: colours.quiet } } };
    const label = { color: colours.quiet, hideOverlap: true };
    if (numbers.time) return { type: "time", ...look, axisLabel: label };
    const tight = width / numbers.labels.length < 110;
    const turned = tight ? { rotate: 40, width: 90, overflow: "truncate" } : {};
    return { type: "category", data: numbers.labels, ...look, axisLabel: { ...label, ...turned, hideOverlap: !tight } };
  }

  function seriesOption(numbers, colours, width) {
    const scale = scaleOf(numbers);
    const series = seriesOf(numbers, scale, colours);
    if (series.length && numbers.thresholds.length) series[0].markLine = thresholdLines(numbers, scale, colours);
    const highest = Math.max(0, ...numbers.thresholds.map((line) => line.value / scale.by));
    const zoom = zooms(numbers, colours);
    const top = legendHeight(numbers, width);
    return {
      grid: { left: 8, right: 16, top, bottom: zoom.length ? 44 : 8, outerBoundsMode: "same" },
      legend: { top: 0, left: 0, textStyle: { color: colours.ink }, itemGap: 14 },
      xAxis: labelAxis(numbers, colours, width),
      yAxis: {
        type: "value",
        name: scale.unit,
        nameLocation: "end",
        nameTextStyle: { color: colours.quiet, align: "left" },
        min: 0,
        max: highest ? (range) => Math.max(range.max, highest) * 1.05 : null,
        axisLabel: { color: colours.quiet, showMaxLabel: highest ? false : null, formatter: (value) => rounded(value) },
        splitLine: { lineStyle: { color: colours.line } },
      },
      tooltip: { ...tip(colours), trigger: "axis", formatter: tipOfSeries(numbers) },
      dataZoom: zoom,
      series,
    };
  }

  // --- a whole and its parts -------------------------------------------------------------------------------------------

  function treemapOption(numbers, colours) {
    const words = (node) => `${node.data.kind} ${node.name}: ${inWords(node.value, numbers)}`;
    const border = (width, gap) => ({ itemStyle: { borderColor: colours.surface, borderWidth: width, gapWidth: gap } });
    return {
      color: colours.shades,
      tooltip: { ...tip(colours), formatter: words },
      series: [
        {
          type: "treemap",
          data: numbers.nodes,
          left: 0,
          right: 0,
          top: 0,
          bottom: 0,
          roam: false,
          nodeClick: false,
          breadcrumb: { show: false },
          label: { color: colours.onShades, overflow: "truncate", formatter: (node) => node.name },
          upperLabel: { show: true, height: 22, color: colours.ink, overflow: "truncate" },
          // The whole has no name of its own.
          levels: [{ ...border(0, 3), upperLabel: { show: false } }, border(2, 2), border(1, 1), border(1, 1)],
        },
      ],
    };
  }

  // Drawn inside of the picture: made of elements it would need styles that our pages forbid.
  function tip(colours) {
    return {
      renderMode: "richText",
      confine: true,
      backgroundColor: colours.surface,
      borderColor: colours.quiet,
      textStyle: { color: colours.ink, fontSize: 13 },
    };
  }

  // --- drawing -----------------------------------------------------------------------------------------------------------

  function option(numbers, width) {
    const colours = palette();
    const own = numbers.kind === "treemap" ? treemapOption(numbers, colours) : seriesOption(numbers, colours, width);
    return {
      animation: false, // movement would say nothing here, and bothers some
      textStyle: { fontFamily: window.getComputedStyle(document.body).fontFamily },
      aria: { enabled: true, label: { description: numbers.about }, decal: { show: numbers.kind !== "treemap" } },
      ...own,
    };
  }

  function draw(element) {
    const numbers = JSON.parse(document.getElementById(element.dataset.chart).textContent);
    const chart = echarts.init(element, null, { renderer: "svg" });
    const redraw = () => {
      chart.resize();
      chart.setOption(option(numbers, element.clientWidth), { notMerge: true });
    };
    redraw();
    chart.on("click", (point) => {
      const address = numbers.kind === "treemap" ? point.data?.address : numbers.addresses[point.dataIndex];
      if (address) window.location.assign(address);
    });
    let width = element.clientWidth;
    new ResizeObserver(() => {
      if (element.clientWidth === width) return;
      width = element.clientWidth;
      redraw();
    }).observe(element);
    new MutationObserver(redraw).observe(root, { attributes: true, attributeFilter: ["data-bs-theme"] });
    element.dataset.drawn = "yes";
  }

  for (const element of document.querySelectorAll("[data-chart]")) draw(element);
})();
