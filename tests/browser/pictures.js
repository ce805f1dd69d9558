// Compares pictures section by section, by mean colours of cells, so that another version of a font passes and a missing picture does not:
// letters are grey, so colour is compared closely cell by cell, and brightness loosely by cell and closely by block.
const LIMITS = { cell: 20, block: 100, colour: 9, light: 60, blockLight: 9, share: 0.03, blockShare: 0.1, stretch: 0.08 };

// Runs in the browser, which can read and write PNG.
async function compareInPage({ reference, actual, before, after, limits }) {
  const load = async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return { canvas, context, data: context.getImageData(0, 0, image.width, image.height) };
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
  const a = await load(reference), b = await load(actual);
  const faults = [], { canvas, context } = b, found = [];
  const walk = (old, now, size, differs) => {
    const columns = Math.max(1, Math.round(old.width / size)), rows = Math.max(1, Math.round(old.height / size));
    let bad = 0;
    for (let j = 0; j < rows; j++) for (let i = 0; i < columns; i++) {
      const at = (r, f, g) => [r.x + r.width * f / columns, r.y + r.height * g / rows];
      const cell = (image, r) => mean(image.data, ...at(r, i, j), ...at(r, i + 1, j + 1));
      if (!differs(cell(a, old), cell(b, now))) continue;
      bad++;
      const [x, y] = at(now, i, j);
      found.push([x, y, now.width / columns, now.height / rows]);
    }
    return bad / (columns * rows);
  };
  for (const [name, old] of Object.entries(before)) {
    const now = after[name];
    if (!now) { faults.push(`${name}: is missing`); continue; }
    const stretch = Math.max(Math.abs(now.width / old.width - 1), Math.abs(now.height - old.height) / Math.max(old.height, 100));
    if (stretch > limits.stretch) { faults.push(`${name}: ${now.width}x${now.height} instead of ${old.width}x${old.height}`); continue; }
    const cells = walk(old, now, limits.cell, (p, q) =>
      Math.max(Math.abs(p.blue - q.blue), Math.abs(p.red - q.red)) > limits.colour || Math.abs(p.light - q.light) > limits.light);
    const blocks = walk(old, now, limits.block, (p, q) => Math.abs(p.light - q.light) > limits.blockLight);
    if (cells > limits.share || blocks > limits.blockShare)
      faults.push(`${name}: ${(cells * 100).toFixed(1)} % of the cells and ${(blocks * 100).toFixed(1)} % of the blocks differ`);
  }
  context.fillStyle = 'rgba(128, 128, 128, .5)';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = '#f0f';
  context.lineWidth = 2;
  for (const [x, y, width, height] of found) context.strokeRect(x + 1, y + 1, width - 2, height - 2);
  return { faults, difference: canvas.toDataURL('image/png').split(',')[1] };
}

export async function compare(browser, pictures) {
  const page = await browser.newPage();
  try {
    return await page.evaluate(compareInPage, { ...pictures, limits: LIMITS });
  } finally {
    await page.close();
  }
}
