// Tables that sort by a click on a heading and filter by words. The HTML is complete without this script.

const FEW = 5; // rows up to which a filter helps nobody

// A cell's place in the order: numbers by value ("0.240 [0.1, 0.3]" by 0.24), then text, then what is missing.
function key(text) {
  const number = Number.parseFloat(text);
  if (Number.isFinite(number)) return [0, number];
  return text === "-" || text === "" ? [2, ""] : [1, text];
}

function compare(a, b) {
  if (a[0] !== b[0]) return a[0] - b[0];
  return a[0] === 0 ? a[1] - b[1] : a[1].localeCompare(b[1], "en", { numeric: true });
}

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => [key(row.cells[column].textContent.trim()), row]);
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
