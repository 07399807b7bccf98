// Ends by class over time.

function svg(tag, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// The begin of the day, or of the step within a day, that contains a time.
function stepBegin(t, step) {
  const [year, month, day, hour, minute] = fields(t);
  if (step >= DAY) return timeOf(year, month, day);
  const since = Math.floor((hour * HOUR + minute * MINUTE) / step) * step;
  return timeOf(year, month, day, Math.floor(since / HOUR), since % HOUR / MINUTE);
}
// The bins from the one that contains `from` to the last one before `to`: {start, end, counts}.
function binsOf(from, to, step) {
  const bins = [];
  for (let start = stepBegin(from, step); start < to;) {
    let end = stepBegin(new Date(Number(start) + step + (step >= DAY ? step / 2 : 0)), step);
    if (end <= start) end = new Date(Number(start) + step);  // the clock was set back there
    bins.push({start, end, counts: noClasses()});
    start = end;
  }
  return bins;
}
const binAt = (bins, when) => bins.findLast((bin) => bin.start <= when && when < bin.end);
const sumOf = (counts) => CLASSES.reduce((sum, name) => sum + counts[name], 0);
function totalsOf(bins) {
  const totals = noClasses();
  for (const bin of bins) for (const name of CLASSES) totals[name] += bin.counts[name];
  return totals;
}
const countsText = (counts) => CLASSES.filter((name) => counts[name]).map((name) => `${counts[name]} ${name}`).join(', ');

const LABELS = [1, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 10080, 20160, 43200].map((minutes) => minutes * MINUTE);

// Draws the bins; `addressFor(bin, name)` is where a bar leads to, if it is given.
function drawChart(holder, bins, step, summary, addressFor) {
  const width = Math.max(280, holder.clientWidth), left = 12, wide = (width - 2 * left) / Math.max(1, bins.length), base = 84;
  const most = Math.max(1, ...bins.map((bin) => sumOf(bin.counts)));
  const unit = Math.min(18, 66 / most);
  const picture = svg('svg', {viewBox: `0 0 ${width} 110`, height: 110, role: addressFor ? 'group' : 'img', 'aria-label': summary});
  const put = (shape, title, address) => {
    shape.append(svg('title', {}, title));
    if (!address) return picture.append(shape);
    const link = svg('a', {href: address, tabindex: -1, 'aria-label': title});
    link.append(shape);
    picture.append(link);
  };
  picture.append(svg('line', {class: 'axis', x1: left, x2: width - left, y1: base + .5, y2: base + .5}));
  const every = LABELS.find((one) => one >= step && one / step * wide >= 54) || LABELS.at(-1);
  bins.forEach((bin, i) => {
    const x = left + i * wide, far = bins.length - 1 - i, days = every >= DAY;
    const [, , , hour, minute] = fields(bin.start), of_day = hour * HOUR + minute * MINUTE;
    if (days ? (step >= DAY ? far % Math.max(1, every / step) === 0 : of_day === 0) : of_day % every === 0) {
      const label = days ? dayText(bin.start).slice(5) : clockText(bin.start), at = step >= DAY ? x + wide / 2 : x;
      const anchor = at < 24 ? 'start' : at > width - 24 ? 'end' : 'middle';
      picture.append(svg('line', {class: 'axis', x1: x + .5, x2: x + .5, y1: base, y2: base + 5}),
                     svg('text', {x: at, y: base + 18, 'text-anchor': anchor}, label));
    }
    if (!sumOf(bin.counts)) return;
    const when = step >= DAY ? dayText(bin.start) : timeText(bin.start).slice(0, 16);
    if (addressFor) {
      put(svg('rect', {class: 'all', x, y: 0, width: wide, height: base}), `${when}: ${countsText(bin.counts)}`, addressFor(bin, ''));
    }
    let y = base;
    for (const [name, number] of Object.entries(bin.counts)) {
      if (!number) continue;
      const height = number * unit, thick = Math.max(2, Math.min(wide - 2, 28));
      y -= height;
      put(svg('rect', {class: name, x: x + (wide - thick) / 2, y: y + .5, width: thick, height: Math.max(1, height - 1), rx: 2}),
          `${when}: ${number} ${name}`, addressFor && addressFor(bin, name));
      if (height >= 11 && thick >= 9) picture.append(svg('text', {class: 'glyph', x: x + wide / 2, y: y + height / 2 + 3}, GLYPHS[name]));
    }
  });
  holder.replaceChildren(picture);
}
