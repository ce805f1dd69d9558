// Compares pictures section by section, by mean colours of cells, so that another version of a font passes and a missing picture does not:
// letters are grey, so colour is compared closely cell by cell, and brightness loosely by cell and closely by block. Where there was ink there
// has to be some nearby, and where there is some there has to have been, or a text is missing or new. References are kept, and
// everything is compared, at half the size.
const LIMITS = { cell: 20, block: 100, colour: 9, light: 60, blockLight: 9, ink: 12, inkLight: 60, share: 0.05, blockShare: 0.1, inkShare: 0.1, stretch: 0.08 };

// Runs in the browser, which can read and write PNG.
async function compareInPage({ reference, actual, before, after, limits }) {
  const load = async (base64, scale) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: Math.round(image.width * scale), height: Math.round(image.height * scale) });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.imageSmoothingQuality = 'high';
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return { canvas, context, data: context.getImageData(0, 0, canvas.width, canvas.height) };
  };
  const mean = ({ width, height, data }, x0, y0, x1, y1) => {
    const sum = [0, 0, 0];
    let n = 0;
    for (let y = Math.max(0, Math.round(y0)); y < Math.min(height, Math.round(y1)); y++)
      for (let x = Math.max(0, Math.round(x0)); x < Math.min(width, Math.round(x1)); x++, n++)
        for (let c = 0; c < 3; c++) sum[c] += data[(y * width + x) * 4 + c];
    const [r, g, b] = sum.map((v) => v / Math.max(1, n)), light = 0.299 * r + 0.587 * g + 0.114 * b;
    return { light, blue: b - light, red: r - light };
  };
  const b = await load(actual, 0.5);
  if (!reference) return { half: b.canvas.toDataURL('image/png').split(',')[1] };
  const a = await load(reference, 1);
  const faults = [], measures = [], { canvas, context } = b, found = [];
  const walk = (old, now, size, differs) => {
    const columns = Math.max(1, Math.round(old.width / size)), rows = Math.max(1, Math.round(old.height / size));
    let bad = 0;
    for (let j = 0; j < rows; j++) for (let i = 0; i < columns; i++) {
      const at = (r, f, g) => [(r.x + r.width * f / columns) / 2, (r.y + r.height * g / rows) / 2];
      const cell = (image, r) => mean(image.data, ...at(r, i, j), ...at(r, i + 1, j + 1));
      if (!differs(cell(a, old), cell(b, now))) continue;
      bad++;
      const [x, y] = at(now, i, j);
      found.push([x, y, now.width / columns / 2, now.height / rows / 2]);
    }
    return bad / (columns * rows);
  };
  // Of the cells with ink in one picture, those with none in or around them in the other.
  const inked = ({ data }, r, columns, rows) => {
    const cells = Array.from({ length: rows }, () => new Uint8Array(columns));
    for (let j = 0; j < rows; j++) for (let i = 0; i < columns; i++) {
      let least = 255, most = 0;
      const edge = (from, size, n, k) => Math.round((from + size * k / n) / 2);
      for (let y = edge(r.y, r.height, rows, j); y < edge(r.y, r.height, rows, j + 1); y++)
        for (let x = edge(r.x, r.width, columns, i); x < edge(r.x, r.width, columns, i + 1); x++) {
          const light = data.data[(y * data.width + x) * 4 + 1];
          least = Math.min(least, light), most = Math.max(most, light);
        }
      cells[j][i] = most - least > limits.inkLight;
    }
    return cells;
  };
  const inkLost = (old, now) => {
    const columns = Math.round(old.width / limits.ink), rows = Math.round(old.height / limits.ink);
    const p = inked(a, old, columns, rows), q = inked(b, now, columns, rows);
    let lost = 0, all = 0;
    const near = (cells, i, j) => [-1, 0, 1].some((y) => [-1, 0, 1].some((x) => cells[j + y]?.[i + x]));
    for (let j = 0; j < rows; j++) for (let i = 0; i < columns; i++) {
      all += p[j][i];
      if (!(p[j][i] && !near(q, i, j)) && !(q[j][i] && !near(p, i, j))) continue;
      lost++;
      found.push([(now.x + now.width * i / columns) / 2, (now.y + now.height * j / rows) / 2, limits.ink / 2, limits.ink / 2]);
    }
    return lost / Math.max(1, all);
  };
  for (const [name, old] of Object.entries(before)) {
    const now = after[name];
    if (!now) { faults.push(`${name}: is missing`); continue; }
    const stretch = Math.max(Math.abs(now.width / old.width - 1), Math.abs(now.height - old.height) / Math.max(old.height, 100));
    if (stretch > limits.stretch) { faults.push(`${name}: ${now.width}x${now.height} instead of ${old.width}x${old.height}`); continue; }
    const cells = walk(old, now, limits.cell, (p, q) =>
      Math.max(Math.abs(p.blue - q.blue), Math.abs(p.red - q.red)) > limits.colour || Math.abs(p.light - q.light) > limits.light);
    const blocks = walk(old, now, limits.block, (p, q) => Math.abs(p.light - q.light) > limits.blockLight);
    const ink = inkLost(old, now), percent = (share) => `${(share * 100).toFixed(1)} %`;
    measures.push(`${name} ${percent(cells)} ${percent(blocks)} ${percent(ink)}`);
    if (cells > limits.share || blocks > limits.blockShare || ink > limits.inkShare)
      faults.push(`${name}: ${percent(cells)} of the cells and ${percent(blocks)} of the blocks differ; ${percent(ink)} of the ink is gone or new`);
  }
  context.fillStyle = 'rgba(128, 128, 128, .5)';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = '#f0f';
  context.lineWidth = 1;
  for (const [x, y, width, height] of found) context.strokeRect(x + .5, y + .5, width - 1, height - 1);
  return { faults, measures, difference: canvas.toDataURL('image/png').split(',')[1] };
}

// Without `reference`, { half } is the picture at half its size.
export async function compare(browser, pictures) {
  const page = await browser.newPage();
  try {
    return await page.evaluate(compareInPage, { ...pictures, limits: LIMITS });
  } finally {
    await page.close();
  }
}
