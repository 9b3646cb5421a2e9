// The words in which two texts differ: two lists of [text, whether it differs], one per side.

const MOST_PAIRS = 4_000_000; // cells of the table of common words; longer texts are compared by lines first

function differences(left, right) {
  if (left === right) return [[[left, false]], [[right, false]]];
  return align(left.match(/\s+|\w+|[^\s\w]/gu) ?? [], right.match(/\s+|\w+|[^\s\w]/gu) ?? [], () =>
    align(left.match(/[^\n]*\n|[^\n]+/g) ?? [], right.match(/[^\n]*\n|[^\n]+/g) ?? [], null),
  );
}

function align(a, b, coarser) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const [n, m] = [a.length - start - end, b.length - start - end];
  const sides = [[], []];
  const put = (side, text, differs) => {
    const last = sides[side].at(-1);
    if (last !== undefined && last[1] === differs) last[0] += text;
    else sides[side].push([text, differs]);
  };
  const both = (text) => [0, 1].forEach((side) => put(side, text, false));
  a.slice(0, start).forEach(both);
  if (n * m > MOST_PAIRS) {
    if (coarser !== null) return coarser();
    put(0, a.slice(start, start + n).join(""), true);
    put(1, b.slice(start, start + m).join(""), true);
  } else {
    const common = new Uint16Array((n + 1) * (m + 1)); // length of the longest common part from (i, j) on
    for (let i = n - 1; i >= 0; i--)
      for (let j = m - 1; j >= 0; j--)
        common[i * (m + 1) + j] =
          a[start + i] === b[start + j]
            ? common[(i + 1) * (m + 1) + j + 1] + 1
            : Math.max(common[(i + 1) * (m + 1) + j], common[i * (m + 1) + j + 1]);
    let [i, j] = [0, 0];
    while (i < n || j < m) {
      if (i < n && j < m && a[start + i] === b[start + j]) {
        both(a[start + i]);
        i++;
        j++;
      } else if (j === m || (i < n && common[(i + 1) * (m + 1) + j] >= common[i * (m + 1) + j + 1])) {
        put(0, a[start + i++], true);
      } else {
        put(1, b[start + j++], true);
      }
    }
  }
  a.slice(a.length - end).forEach(both);
  return sides;
}
