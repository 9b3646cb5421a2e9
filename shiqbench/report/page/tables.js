// Tables that sort by a click on a heading and filter by words. The HTML is complete without this script.

const FEW = 5; // up to so many rows no filter is needed

const NUMBER = /^([<>]?)(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?=$|[ ;%])/;
const COUNTS = /^\d+(?:[/,-] ?\d+)+$/; // 3/7/0, and the seeds 0-2

// A cell's place in the order: numbers by value ("0.240 [0.1, 0.3]" by 0.24), then text, then what is missing.
function key(cell) {
  const text = cell.textContent.trim();
  if (cell.dataset.number !== undefined) return [0, [Number(cell.dataset.number)]];
  if (text === "-" || text === "") return [2, []];
  if (COUNTS.test(text)) return [0, text.match(/\d+/g).map(Number)];
  const [, sign, digits] = NUMBER.exec(text) ?? [];
  // "<1e-06" comes before "1e-06".
  if (digits) return [0, [Number(digits.replaceAll(",", "")), { "<": -1, "": 0, ">": 1 }[sign]]];
  return [1, text];
}

function compare([kind, a], [other, b]) {
  if (kind !== other) return kind - other;
  if (kind === 1) return a.localeCompare(b, "en", { numeric: true });
  const at = a.findIndex((number, i) => number !== (b[i] ?? 0));
  return at < 0 ? 0 : a[at] - (b[at] ?? 0);
}

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = head.title; // its description for a screen reader
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => [key(row.cells[column]), row]);
      // What is missing stays last in both directions.
      keyed.sort(([a], [b]) => (down && a[0] < 2 && b[0] < 2 ? compare(b, a) : compare(a, b)));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

function filterable(section, table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= FEW) return;
  const label = document.createElement("label");
  label.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  input.autocomplete = "off";
  const said = document.createElement("output");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    said.textContent = `${shown} of ${rows.length} rows`;
  };
  input.addEventListener("input", show);
  label.append("Filter rows ", input);
  section.insertBefore(label, section.querySelector(".scroll"));
  label.after(said);
  show();
}

for (const table of document.querySelectorAll("main table")) {
  sortable(table);
  filterable(table.closest("section"), table);
}
