// Every few seconds the part of the page that changes is fetched anew, unless nobody looks or something in it is in use.
"use strict";
{
  const EVERY_MS = 5000;
  const now = document.getElementById("now");
  const lost = document.getElementById("lost");
  const since = document.getElementById("since");
  let seen = new Date();

  const inUse = () => now.contains(document.activeElement) || !document.getSelection().isCollapsed;

  const put = (text) => {
    const scrolled = [...now.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    const opened = [...now.querySelectorAll("details[open]")].map((one) => one.id);
    now.innerHTML = text; // the server's own template: what came from outside is escaped there
    now.querySelectorAll(".wide").forEach((one, n) => (one.scrollLeft = scrolled[n] ?? 0));
    opened.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  };

  const look = async () => {
    if (!document.hidden && !inUse()) {
      try {
        const answer = await fetch(now.dataset.from, { signal: AbortSignal.timeout(15000) });
        if (answer.status === 401) location.reload();
        if (!answer.ok) throw new Error(answer.statusText);
        put(await answer.text());
        seen = new Date();
        lost.hidden = true;
      } catch {
        since.textContent = seen.toISOString().slice(0, 19).replace("T", " ") + " UTC";
        lost.hidden = false;
      }
    }
    setTimeout(look, EVERY_MS);
  };
  setTimeout(look, EVERY_MS);
}
