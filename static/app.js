// What the pages do beyond links and forms: copying, times in the person's own zone, keys,
// rows to write in, and finding in a list. Every page works without it.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times ---------------------------------------------------------------------------------------
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const span = (s) => {
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  };
  // As the server words it; see `When` there.
  const relative = (at) => {
    const ms = at - Date.now();
    const s = Math.floor(Math.abs(ms) / 1000);
    if (s < 5) return "now";
    return ms > 0 ? `in ${span(s)}` : `${span(s)} ago`;
  };
  const tick = () => all("time[datetime]").forEach((time) => {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) return;
    const text = time.dataset.due !== undefined && at <= Date.now() ? "due now" : relative(at);
    if (time.textContent !== text) time.textContent = text;
    if (!time.dataset.zoned) {
      time.title = `${zone.format(at)} · ${time.title}`;
      time.dataset.zoned = "1";
    }
  });

  // What a script alone can do is shown only where there is one ---------------------------------
  const prepare = () => all("button[data-copy], [data-add], [data-find]").forEach((control) => {
    control.hidden = false;
  });
  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Without TLS there is no clipboard to write to, but what is selected can be copied.
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
    setTimeout(() => {
      button.classList.remove("copied");
      if (word) word.textContent = "Copy";
    }, 1500);
  };
  const addRow = (rows) => {
    const row = rows.lastElementChild.cloneNode(true);
    const inputs = row.matches("input") ? [row] : all("input", row);
    inputs.forEach((input) => { input.value = ""; });
    rows.append(row);
    inputs[0].focus();
  };
  // A group is shown while something in it has the words, and stands open then.
  const wasOpen = new Map();
  const findIn = (list, words) => all("details", list).forEach((group) => {
    if (!wasOpen.has(group)) wasOpen.set(group, group.open);
    const labels = all("label", group);
    labels.forEach((label) => { label.hidden = !label.textContent.toLowerCase().includes(words); });
    group.hidden = labels.every((label) => label.hidden);
    group.open = words ? true : wasOpen.get(group);
  });
  document.addEventListener("input", (event) => {
    const list = event.target.dataset.find;
    if (list) findIn(document.getElementById(list), event.target.value.trim().toLowerCase());
  });
  // Enter in it looks for something, and sends no form.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.dataset?.find) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.copy !== undefined) copy(button);
    if (button.dataset.add) addRow(document.getElementById(button.dataset.add));
  });

  // What polls itself is swapped only when it says something new: so nothing closes, loses the
  // focus or is read out again for nothing. What was opened stays open.
  const last = {};
  let open = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    const page = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
    const fresh = page.getElementById(target.id);
    // A moment that has passed reads differently each time and says nothing new.
    if (fresh) all("time:not([data-due])", fresh).forEach((time) => { time.textContent = ""; });
    if (!fresh || last[target.id] === fresh.outerHTML) {
      event.detail.shouldSwap = false;
      return;
    }
    last[target.id] = fresh.outerHTML;
    open = all("details", target).map((details) => details.open);
  });
  document.addEventListener("htmx:afterSettle", () => {
    const now = all("#live details");
    if (now.length === open.length) now.forEach((details, place) => { details.open = open[place]; });
    prepare();
    tick();
  });

  // Keys ----------------------------------------------------------------------------------------
  const base = document.body.dataset.base;
  const places = { o: "", e: "/events", p: "/profiles", w: "/webhooks", d: "/deliveries", s: "/sources", k: "/keys" };
  const help = document.getElementById("help");
  const on = document.getElementById("keys-on");
  // A browser may refuse the storage; then the keys are on, for as long as the page stands.
  const stored = () => {
    try {
      return localStorage.getItem("pillarbox-keys") !== "off";
    } catch {
      return true;
    }
  };
  const store = (value) => {
    try {
      localStorage.setItem("pillarbox-keys", value);
    } catch { /* as above */ }
  };
  let going = 0; // when `g` was pressed
  let at = -1; // the row that `j` and `k` have come to
  const move = (by) => {
    const rows = all("a.row");
    if (!rows.length) return;
    at = Math.max(0, Math.min(rows.length - 1, at + by));
    all(".at").forEach((row) => row.classList.remove("at"));
    rows[at].closest("tr, li")?.classList.add("at");
    rows[at].focus();
  };
  const find = () => {
    const search = document.querySelector("[data-search]");
    search?.focus();
    search?.select();
    if (!search && base !== undefined) location.assign(`${base}/profiles`);
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
    else if (key === "/") find();
    else return false;
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
    on.addEventListener("change", () => store(on.checked ? "on" : "off"));
  }

  // What was said once is not said again on a reload ---------------------------------------------
  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    address.searchParams.delete("n");
    history.replaceState(null, "", address);
  }

  prepare();
  tick();
  setInterval(tick, 5000);
})();
