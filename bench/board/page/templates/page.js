"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const panel = document.getElementById("panel");
  const body = document.getElementById("panel-body");

  // Whatever comes from a record is set as text, never as markup.
  const make = (tag, text, cls) => {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    if (cls) e.className = cls;
    return e;
  };

  // ---- sorting: best first, then the other way, then the order of the board again; empty cells always last
  const value = (row, k, kind) => {
    const c = row.cells[k];
    if (kind === "text") return (c.dataset.v ?? c.textContent).trim().toLocaleLowerCase();
    return c.dataset.v === undefined || c.dataset.v === "" ? NaN : Number(c.dataset.v);
  };
  document.querySelectorAll("table.board").forEach((table) => {
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    const start = heads.map((h) => h.getAttribute("aria-sort") || "none");
    heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
      const first = head.dataset.better === "higher" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort") || "none";
      const next = now === first ? other : now === other ? "none" : first;
      heads.forEach((h, j) => h.setAttribute("aria-sort", next === "none" ? start[j] : "none"));
      if (next !== "none") head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const empty = (v) => v === "" || Number.isNaN(v);
      const order = next === "none" ? rows : [...rows].sort((a, b) => {
        const x = value(a, k, head.dataset.kind), y = value(b, k, head.dataset.kind);
        if (empty(x) || empty(y)) return empty(x) - empty(y);
        return sign * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
      });
      table.tBodies[0].append(...order);
    }));
  });

  // ---- filter
  document.querySelectorAll("input[data-filter]").forEach((input) => {
    const board = input.dataset.filter;
    const rows = document.querySelectorAll(`table.board[data-board="${board}"] tbody tr`);
    const said = document.querySelector(`[data-shown="${board}"]`);
    input.addEventListener("input", () => {
      const words = input.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((r) => {
        const name = r.dataset.name.toLocaleLowerCase();
        r.hidden = !words.every((w) => name.includes(w));
        shown += !r.hidden;
      });
      said.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
  });

  // ---- one cell
  const show = (v) => {
    if (v === null || v === undefined) return "does not apply";
    if (typeof v === "object" && "bound" in v) return `censored at ${v.bound}`;
    if (typeof v === "number") return Number.isInteger(v) ? String(v) : String(Number(v.toPrecision(7)));
    return typeof v === "object" ? JSON.stringify(v, null, 1).replace(/\n\s*/g, " ") : String(v);
  };
  const list = (items) => {
    const dl = make("dl", undefined, "kv");
    items.forEach(([k, v]) => dl.append(make("dt", k), make("dd", v)));
    return dl;
  };
  const block = (title, object) => {
    const d = make("details");
    d.append(make("summary", title), list(Object.entries(object).map(([k, v]) => [k, show(v)])));
    return d;
  };
  const lines = (into, title, text) => {
    if (text && text.length) into.append(make("div", title, "fine"), make("pre", text.join("\n")));
  };
  const seed = (s, metrics) => {
    const box = make("section", undefined, "seed");
    const head = make("h3", `seed ${s.seed}`);
    const bad = !["ok", "new", "skipped", "unplanned"].includes(s.status);
    head.append(make("span", s.status, bad ? "state bad" : "state"));
    if (s.key) head.append(make("code", `bench show ${s.key}`));
    box.append(head);
    const facts = [];
    if (s.reason) facts.push(["reason", s.reason]);
    if (s.alias) facts.push(["alias of", `${s.alias} (the same cell, by construction)`]);
    if (s.stale) facts.push(["stale", s.stale.join("; ")]);
    if (s.marks) facts.push(["marks", s.marks.join("; ")]);
    Object.entries(s.metrics || {}).forEach(([k, v]) => {
      const unit = metrics[k.replace(/^val_/, "")]?.[0];
      facts.push([k, show(v) + (unit && typeof v === "number" ? ` ${unit}` : "")]);
    });
    if (s.hardware) facts.push(["hardware", s.hardware]);
    if (facts.length) box.append(list(facts));
    if (s.cost) box.append(block("cost", s.cost));
    const d = s.detail;
    if (!d) {
      if (s.key && !["new", "blocked", "unplanned"].includes(s.status))
        box.append(make("p", "The whole record is not embedded here; the command above shows it.", "fine"));
      return box;
    }
    if (d.error) {
      const said = [d.error.type, d.error.message].filter(Boolean).join(": ");
      if (said) lines(box, "error", [said]);
    }
    lines(box, "last lines", d.lines);
    lines(box, "log, last lines", d.log);
    const names = { hp: "hyper-parameters", run: "run settings", limits: "limits", where: "where", provenance: "provenance" };
    Object.entries(names).forEach(([k, title]) => {
      if (d[k] !== undefined) box.append(block(title, data.shared[d[k]]));
    });
    const when = [d.started && `started ${d.started}`, d.ended && `ended ${d.ended}`, d.attempts && `${d.attempts} attempts`];
    if (when.some(Boolean)) box.append(make("p", when.filter(Boolean).join(", "), "fine"));
    return box;
  };
  const open = (button) => {
    const board = data.boards[button.closest("table").dataset.board];
    const [row, task] = button.dataset.at.split(",").map(Number);
    document.getElementById("panel-title").textContent = `${board.rows[row]} on ${board.tasks[task]}`;
    body.replaceChildren(...(board.cells[button.dataset.at] || []).map((s) => seed(s, board.metrics)));
    panel.showModal();
    panel.scrollTop = 0;
  };
  document.addEventListener("click", (e) => {
    const button = e.target.closest("button.cell");
    if (button) open(button);
    else if (e.target === panel) panel.close();
  });
  document.getElementById("panel-close").addEventListener("click", () => panel.close());
})();
