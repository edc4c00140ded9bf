// What the pages do beyond links and forms: copying, times in the person's own zone, keys, and
// rows to write event types in. Every page works without it.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times ---------------------------------------------------------------------------------------
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const relative = (at) => {
    const ms = at - Date.now(), s = Math.floor(Math.abs(ms) / 1000);
    if (s < 5) return "now";
    const span = s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min`
      : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
    return ms > 0 ? `in ${span}` : `${span} ago`;
  };
  const tick = () => all("time[datetime]").forEach((time) => {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) return;
    const text = time.dataset.due !== undefined && at <= Date.now() ? "due now" : relative(at);
    if (time.textContent !== text) time.textContent = text;
    if (!time.dataset.zoned) { time.title = `${zone.format(at)} · ${time.title}`; time.dataset.zoned = "1"; }
  });

  // What a script alone can do is shown only where there is one ---------------------------------
  const prepare = (root) => all("button[data-copy], #add-event", root).forEach((button) => { button.hidden = false; });
  const copy = async (button) => {
    try { await navigator.clipboard.writeText(button.dataset.copy); } catch {
      const area = document.createElement("textarea");
      area.value = button.dataset.copy;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const word = button.querySelector("span");
    button.classList.add("copied");
    if (word) word.textContent = "Copied";
    setTimeout(() => { button.classList.remove("copied"); if (word) word.textContent = "Copy"; }, 1500);
  };
  const addEvent = () => {
    const rows = document.getElementById("event-rows");
    const row = rows.lastElementChild.cloneNode(true);
    row.value = "";
    rows.append(row);
    row.focus();
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button);
    if (button.id === "add-event") addEvent();
  });

  // What polls itself is swapped only when it says something new: so nothing closes, loses the
  // focus or is read out again for nothing. What was opened stays open.
  const last = {};
  let open = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById(target.id);
    if (!fresh) { event.detail.shouldSwap = false; return; }
    all("time", fresh).forEach((time) => { if (time.dataset.due === undefined) time.textContent = ""; });
    if (last[target.id] === fresh.outerHTML) { event.detail.shouldSwap = false; return; }
    last[target.id] = fresh.outerHTML;
    open = all("details", target).map((details) => details.open);
  });
  document.addEventListener("htmx:afterSettle", () => {
    const now = all("#live details");
    if (now.length === open.length) now.forEach((details, place) => { details.open = open[place]; });
    prepare(document);
    tick();
  });

  // Keys ----------------------------------------------------------------------------------------
  const base = document.body.dataset.base;
  const places = { o: "", e: "/events", p: "/profiles", w: "/webhooks", d: "/deliveries", k: "/keys" };
  const help = document.getElementById("help"), on = document.getElementById("keys-on");
  const stored = () => { try { return localStorage.getItem("pillarbox-keys") !== "off"; } catch { return true; } };
  let going = 0, at = -1;
  const move = (by) => {
    const rows = all("a.row");
    if (!rows.length) return;
    at = Math.max(0, Math.min(rows.length - 1, at + by));
    all(".at").forEach((row) => row.classList.remove("at"));
    rows[at].closest("tr, li")?.classList.add("at");
    rows[at].focus();
  };
  const press = (key) => {
    if (going && Date.now() - going < 1500 && places[key] !== undefined) {
      going = 0;
      if (base !== undefined) location.assign(base + places[key]);
      return true;
    }
    going = key === "g" ? Date.now() : 0;
    if (key === "j") move(1);
    else if (key === "k") move(-1);
    else if (key === "?") help.showModal();
    else if (key === "r") document.querySelector("[data-retry]")?.click();
    else if (key === "c") document.querySelector("[data-id] ~ [data-copy]")?.click();
    else if (key === "/") {
      const search = document.querySelector("[data-search]");
      if (search) { search.focus(); search.select(); } else if (base !== undefined) location.assign(`${base}/profiles`);
    } else return false;
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
    if (!stored() && event.key !== "?") return;
    if (press(event.key)) event.preventDefault();
  });
  if (on) {
    on.checked = stored();
    on.addEventListener("change", () => { try { localStorage.setItem("pillarbox-keys", on.checked ? "on" : "off"); } catch { /* private mode */ } });
  }

  // What was said once is not said again on a reload ---------------------------------------------
  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    address.searchParams.delete("n");
    history.replaceState(null, "", address);
  }

  prepare(document);
  tick();
  setInterval(tick, 5000);
})();
