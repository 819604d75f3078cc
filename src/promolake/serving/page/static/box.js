// The SQL box: what comes back is put into the page as text.
"use strict";
{
  const words = JSON.parse(document.getElementById("box").dataset.words);
  const sql = document.getElementById("sql");
  const said = document.getElementById("said");
  const place = document.getElementById("answer");
  const say = (word, values) => words[word].replace(/\{(\w+)\}/g, (_, name) => values[name]);

  function cell(tag, text, isNumber) {
    const element = document.createElement(tag);
    element.textContent = text ?? "NULL";
    if (isNumber) element.className = "number";
    if (text === null) element.className = "nothing";
    return element;
  }

  function show({ columns, rows, more, seconds }) {
    const head = document.createElement("tr");
    head.append(...columns.map((column) => cell("th", column.name, column.is_number)));
    place.querySelector("thead").replaceChildren(head);
    place.querySelector("tbody").replaceChildren(
      ...rows.map((row) => {
        const line = document.createElement("tr");
        line.append(...row.map((text, at) => cell("td", text, columns[at].is_number)));
        return line;
      }),
    );
    place.hidden = false;
    said.textContent = say(more ? "sql_more" : "sql_rows", { rows: rows.length, seconds });
  }

  let asked = 0;
  async function run() {
    const turn = ++asked;
    said.className = "";
    said.textContent = words.sql_running;
    const answer = await fetch("/api/sql", { method: "POST", body: new URLSearchParams({ sql: sql.value }) }).catch(() => null);
    const found = await answer?.json().catch(() => null);
    if (turn !== asked) return; // a later question is on its way
    if (answer?.ok && found) {
      show(found);
      return;
    }
    if (answer?.status === 401) location.reload();
    said.className = "wrong";
    said.textContent = found?.error ?? words.no_answer;
    place.hidden = true;
  }

  document.getElementById("run").addEventListener("click", run);
  sql.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  for (const button of document.querySelectorAll("[data-relation]"))
    button.addEventListener("click", () => {
      sql.value = `SELECT *\nFROM ${button.dataset.relation}\nLIMIT 100`;
      run();
    });
}
