// The screen: figures come as events, and are put into the page as text, never as markup.
"use strict";
{
  const wall = document.getElementById("wall");
  const words = JSON.parse(wall.dataset.words);
  const lang = document.documentElement.lang;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const STALE_SECONDS = 30;
  const SILENT_SECONDS = 25; // the server beats every ten
  const SPEAK_SECONDS = 30;
  let shown = null; // the last screen
  let offset = 0; // server's clock less ours, ms
  let heard = Date.now();
  let spoken = 0;
  let connected = false;

  // --- words and numbers -------------------------------------------------------------------------------------------------------
  const say = (word, values = {}) => words[word].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const number = new Intl.NumberFormat(lang);
  const compact = new Intl.NumberFormat(lang, { notation: "compact", maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat(lang, { style: "percent", maximumFractionDigits: 1 });
  const ratio = new Intl.NumberFormat(lang, { maximumFractionDigits: 2 });
  const formats = new Map(); // to make one costs more than to draw the figure
  function money(amount, currency, digits = 0) {
    const key = currency + digits;
    if (!formats.has(key)) {
      formats.set(key, new Intl.NumberFormat(lang, { style: "currency", currency, currencyDisplay: "narrowSymbol", maximumFractionDigits: digits, minimumFractionDigits: digits }));
    }
    return formats.get(key).format(amount);
  }
  const clock = (iso, seconds = false) => iso.slice(11, seconds ? 19 : 16);
  const now = () => Date.now() + offset;

  function ago(iso) {
    const seconds = Math.max(0, Math.round((now() - Date.parse(iso)) / 1000));
    const [amount, unit] = seconds < 120 ? [seconds, "second"] : seconds < 7200 ? [Math.round(seconds / 60), "minute"] : [Math.round(seconds / 3600), "hour"];
    return new Intl.NumberFormat(lang, { style: "unit", unit, unitDisplay: "narrow" }).format(amount);
  }

  // --- elements -----------------------------------------------------------------------------------------------------------------
  const put = (root, name, text) => {
    const element = root.querySelector(`[data-${name}]`);
    if (element.textContent !== text) element.textContent = text;
  };
  function made(tag, className, text) {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }
  function row(share, ...cells) {
    const item = made("li", "row");
    item.style.setProperty("--share", share);
    item.append(...cells.map(([className, text]) => made("span", className, text)));
    return item;
  }

  // --- tiles: each shows its rows inside `root` -----------------------------------------------------------------------------------
  const mainCurrency = () => shown.tiles.gmv.rows[0]?.currency;

  // The total counts up in a few steps: drawn at every frame, it alone would cost a third of a core that the stream may need.
  const STEPS = 8;
  const STEP_MS = 75;
  const counter = { shows: 0, currency: "", timer: 0 };
  function count(element, target, currency) {
    clearTimeout(counter.timer);
    const from = counter.currency === currency ? counter.shows : target;
    const step = (n) => {
      const done = calm.matches || document.hidden || from === target ? 1 : n / STEPS;
      counter.shows = done === 1 ? target : from + (target - from) * (1 - (1 - done) ** 3);
      element.textContent = money(counter.shows, currency);
      if (done < 1) counter.timer = setTimeout(step, STEP_MS, n + 1);
    };
    counter.currency = currency;
    element.style.setProperty("--digits", money(target, currency).length);
    step(1);
  }

  const tiles = {
    gmv(root, [first, ...others]) {
      count(root.querySelector("[data-counter]"), Number(first.gmv_amount), first.currency);
      put(root, "ordered", money(first.ordered_amount, first.currency, 2));
      put(root, "paid", money(first.gmv_amount, first.currency, 2));
      put(root, "net", money(first.net_amount, first.currency, 2));
      put(root, "sales", number.format(first.sale_count));
      root.querySelector("[data-others]").replaceChildren(
        ...others.map((one) => {
          const [paid, net, ordered] = [one.gmv_amount, one.net_amount, one.ordered_amount].map((amount) => money(amount, one.currency, 2));
          const item = made("li", "");
          item.append(made("strong", "", one.currency), " ", say("other_currency", { paid, net, ordered }));
          return item;
        }),
      );
      if (now() - spoken > SPEAK_SECONDS * 1000) {
        spoken = now();
        document.getElementById("spoken").textContent = say("spoken", { amount: money(first.gmv_amount, first.currency) });
      }
    },
    gmv_per_minute(root, rows, tile) {
      const mine = rows.filter((one) => one.currency === (mainCurrency() ?? rows[0].currency));
      const isFinal = (one) => tile.final_until !== null && one.window_start < tile.final_until;
      const bars = (chosen, name, opacity) => ({
        paint: (color) => ({
          type: "bar", name, x: mine.map((one) => one.window_start), y: mine.map((one) => (chosen(one) ? Number(one.gmv_amount) : null)),
          marker: { color, opacity }, hovertemplate: "%{y:,.0f}",
        }),
      });
      const place = root.querySelector("[data-chart]");
      charts.show(place, [bars(isFinal, words.final, 1), bars((one) => !isFinal(one), words.provisional, 0.5)], ["--hot-fill", "--hot-fill"], compact.format);
      const last = mine.at(-1);
      if (last) place.setAttribute("aria-label", say("newest_minute", { minute: clock(last.window_start), figure: money(last.gmv_amount, last.currency) }));
    },
    top_products(root, rows) {
      const mine = rows.filter((one) => one.currency === (mainCurrency() ?? rows[0].currency));
      const most = Number(mine[0].sales_amount);
      root.querySelector("[data-rows]").replaceChildren(
        ...mine.map((one) =>
          row(Number(one.sales_amount) / most, ["name", one.product_id], ["note", say("units", { count: number.format(one.unit_count) })], ["value", money(one.sales_amount, one.currency)]),
        ),
      );
    },
    traffic(root, [day]) {
      put(root, "pv", number.format(day.page_view_count));
      put(root, "uv", number.format(day.visitor_count));
      put(root, "note", say("uv_note", { requests: number.format(day.request_count) }));
    },
    funnel(root, [day]) {
      const steps = [["searches", day.search_count], ["views", day.view_count], ["orders", day.order_count]];
      const most = Math.max(...steps.map(([, n]) => n), 1);
      const per = (n, of, word) => (of ? say("per_step", { share: ratio.format(n / of), of: words[word] }) : "");
      const notes = ["", per(day.view_count, day.search_count, "of_search"), per(day.order_count, day.view_count, "of_view")];
      root.querySelector("[data-rows]").replaceChildren(
        ...steps.map(([word, n], at) => row(n / most, ["name", words[word]], ["note", notes[at]], ["value", number.format(n)])),
      );
    },
    errors(root, rows) {
      const sum = (name) => rows.reduce((total, one) => total + one[name], 0);
      const rate = (one) => (one.event_count ? one.error_count / one.event_count : 0);
      put(root, "figure", percent.format(rate(rows.at(-1))));
      put(root, "note", say("errors_note", { errors: number.format(sum("error_count")), events: number.format(sum("event_count")) }));
      const bars = {
        // Counts, not rates: one late ERROR alone in its minute would be a rate of 100 %.
        paint: (color) => ({ type: "bar", name: "ERROR", x: rows.map((one) => one.window_start), y: rows.map((one) => one.error_count), marker: { color } }),
      };
      const place = root.querySelector("[data-chart]");
      charts.show(place, [bars], ["--gold-fill"], compact.format);
      place.setAttribute("aria-label", say("newest_minute", { minute: clock(rows.at(-1).window_start), figure: `${rows.at(-1).error_count} ERROR` }));
    },
    machines(root, rows) {
      const last = rows.at(-1);
      for (const name of ["cpu", "mem", "io"]) put(root, name, last[`${name}_p75`] === null ? "–" : `${number.format(Math.round(last[`${name}_p75`]))} %`);
      const series = [["CPU", "cpu_p75", "--cool-fill"], [words.memory, "mem_p75", "--violet-fill"], ["I/O", "io_p75", "--good-fill"]];
      line(root, rows, series.map(([name, column, color]) => [name, (one) => one[column], color]), (y) => `${number.format(y)} %`, ".0f");
    },
    top_ips(root, rows) {
      root.querySelector("[data-rows]").replaceChildren(
        ...rows.map((one) => row(one.request_count / rows[0].request_count, ["name", one.ip], ["note", ""], ["value", say("requests", { count: number.format(one.request_count) })])),
      );
    },
    alerts(root, rows) {
      root.querySelector("[data-rows]").replaceChildren(
        ...rows.map((one) => {
          const item = made("li", `alert ${one.status === "firing" ? "firing" : "resolved"}`);
          const summary = JSON.parse(one.annotations || "{}").summary ?? "";
          const time = clock(one.ends_at ?? one.starts_at);
          item.append(made("span", "when", time), made("span", "what", words[one.status] ?? one.status), made("strong", "", one.alert), made("span", "why", summary));
          return item;
        }),
      );
    },
  };

  // Every minute from the first to the last, with its row or null: a line must not lead across minutes nothing is known of.
  function minutes(rows) {
    const known = new Map(rows.map((one) => [Date.parse(one.window_start), one]));
    const first = Math.min(...known.keys());
    const count = (Math.max(...known.keys()) - first) / 60000 + 1;
    return Array.from({ length: count }, (_, n) => first + n * 60000).map((time) => [new Date(time).toISOString(), known.get(time) ?? null]);
  }

  function line(root, rows, series, format, hover) {
    const place = root.querySelector("[data-chart]");
    const every = minutes(rows);
    const traces = series.map(([name, value], n) => ({
      paint: (color) => ({
        type: "scatter", mode: "lines+markers", name, x: every.map(([time]) => time), y: every.map(([, one]) => one && value(one)),
        line: { color, width: 2.5 }, marker: { color, size: 4 }, hovertemplate: `%{y:${hover}}`,
      }),
    }));
    charts.show(place, traces, series.map(([, , color]) => color), format);
    place.setAttribute("aria-label", series.map(([name, value]) => `${name} ${format(value(rows.at(-1)) ?? 0)}`).join(", "));
  }

  // --- the whole ------------------------------------------------------------------------------------------------------------------
  function show(screen) {
    shown = screen;
    if (screen.trouble) return;
    for (const root of wall.querySelectorAll("[data-tile]")) {
      const tile = screen.tiles[root.dataset.tile];
      const isEmpty = !tile || tile.rows.length === 0;
      root.querySelector("[data-body]").hidden = isEmpty;
      const empty = root.querySelector("[data-empty]");
      empty.hidden = !isEmpty;
      empty.textContent = words[`${root.dataset.tile}_empty`];
      if (!isEmpty) tiles[root.dataset.tile](root, tile.rows, tile);
    }
    document.getElementById("asof").textContent = screen.batch < 0 ? "" : say("asof", { batch: number.format(screen.batch) });
    wall.dataset.cut = screen.cut;
    tick();
  }

  function freshness(root, tile) {
    const line = root.querySelector("[data-fresh]");
    line.hidden = !tile?.newest || tile.rows.length === 0;
    if (line.hidden) return;
    const state = line.querySelector("[data-state]");
    state.className = `state ${tile.final ? "is-final" : "is-provisional"}`;
    const after = tile.final_until ? say("provisional_after", { time: clock(tile.final_until) }) : words.provisional;
    put(line, "state", tile.final ? words.final : after);
    const newest = clock(tile.newest);
    put(line, "age", wall.dataset.at ? say("age_then", { newest, committed: clock(tile.committed_at, true) }) : say("age", { newest, age: ago(tile.committed_at) }));
    line.title = say("fresh_title", { newest, committed: clock(tile.committed_at, true) });
  }

  const committed = () => Object.values(shown?.tiles ?? {}).map((tile) => tile.committed_at).filter(Boolean).sort().at(-1);

  function tick() {
    for (const root of wall.querySelectorAll("[data-tile]")) freshness(root, shown?.tiles?.[root.dataset.tile]);
    const banner = document.getElementById("banner");
    const last = committed();
    const time = last ? clock(last, true) : "–";
    let text = "";
    if (shown?.trouble) text = say("trouble_reading", { reason: shown.trouble[lang.slice(0, 2)] });
    else if (wall.dataset.at) text = shown && !last ? say("nothing_then", { time: wall.dataset.at }) : "";
    else if (!connected && shown) text = say("lost", { time });
    else if (last && now() - Date.parse(last) > STALE_SECONDS * 1000) text = say("stale", { age: ago(last), time });
    if (banner.textContent !== text) banner.textContent = text;
    banner.hidden = !text;
  }

  function connection(state, text) {
    const pill = document.getElementById("connection");
    connected = state === "live";
    pill.dataset.state = state;
    put(pill, "text", text);
    tick();
  }

  // --- where the figures come from ------------------------------------------------------------------------------------------------
  let source = null;
  function connect() {
    source?.close();
    heard = Date.now();
    source = new EventSource("/api/live");
    source.addEventListener("beat", (event) => {
      heard = Date.now();
      offset = Date.parse(event.data) - heard;
      if (!connected) connection("live", words.live);
    });
    source.addEventListener("message", (event) => show(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      connection("lost", words.reconnecting);
      if (source.readyState === EventSource.CLOSED) setTimeout(signedOutOrRetry, 2000);
    });
  }
  async function signedOutOrRetry() {
    const answer = await fetch("/api/screen").catch(() => null);
    if (answer?.status === 401) location.reload();
    else connect();
  }

  async function lookBack() {
    const answer = await fetch(`/api/screen?at=${encodeURIComponent(wall.dataset.at)}`).catch(() => null);
    const screen = await answer?.json().catch(() => null);
    if (answer?.status === 401) location.reload();
    connection("past", say("looking_back", { time: wall.dataset.at.replace("T", " ").replace("Z", "") }));
    show(answer?.ok && screen ? screen : { trouble: { [lang.slice(0, 2)]: screen?.error ?? words.no_answer } });
    tick();
  }

  if (wall.dataset.at) lookBack();
  else {
    connect();
    setInterval(() => {
      if (Date.now() - heard > SILENT_SECONDS * 1000) {
        connection("lost", words.reconnecting);
        connect();
      } else tick();
    }, 1000);
  }
  addEventListener("load", () => charts.start());
}
