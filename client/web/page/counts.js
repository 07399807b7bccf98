// Counts of the ends: by class over time, or by what else is chosen, as `vmevents stats` has them.

const BY_NAMES = {class: 'class', who: 'who', vm: 'VM', cause: 'cause', day: 'day', node: 'node'};

// The narrowest unit of the server's counts, and the time that a bar stands for: there are at most some 60 bars.
function stepOf(from, to) {
  const length = to - from;
  const step = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, DAY].find((one) => length / one <= 61) || DAY;
  return [step < HOUR ? 'minute' : length <= 40 * DAY ? 'hour' : 'day', step];
}

// Counts by class as [time, class, number], and the problems of the nodes that are not in them.
async function countEnds(from, to, unit, filter) {
  const times = new URLSearchParams({since: from.toISOString(), until: to.toISOString()});
  if (isFleet) {  // the fleet's stream counts nothing itself
    const list = await get('api/v1/events?' + join(times, filter, `type=stopped&last=${MAX_EVENTS}`));
    const ends = list.events.filter((one) => one.shutdown);
    return {counts: ends.map((one) => [new Date(one.observe_time), classOf(one.shutdown), 1]), problems: list.problems};
  }
  const lists = await Promise.all(CLASSES.map((name) => get('api/v1/counts?' + join(times, filter, `by=${unit}&class=${name.toLowerCase()}`), 'UTC')));
  const counts = [];
  lists.forEach((list, i) => {
    for (const one of list.counts) {
      const [day, clock] = one[unit].split(' ');
      const hour = clock ? (clock.includes(':') ? clock : clock + ':00') : '12:00';
      const when = new Date(`${day}T${hour}Z`);
      if (!isNaN(when)) counts.push([when, CLASSES[i], one.events]);
    }
  });
  return {counts, problems: (lists.find((list) => list.problems.length) || lists[0]).problems};
}

// Counts by `by`, except class, as [key, number]: the largest first, days in their order. `wanted`: which events.
async function countBy(by, wanted) {
  if (by === 'class') return [];
  // A fleet cannot count by who: its answer explains that.
  if (!isFleet || by === 'who') return (await get('api/v1/counts?' + join(wanted, `by=${by}`))).counts.map((one) => [one[by], one.events]);
  const keyOf = {vm: (one) => one.vm.name, cause: (one) => strip(one.shutdown.cause), day: (one) => dayText(new Date(one.observe_time)),
                 node: (one) => `${one.cluster}/${one.node}`}[by];
  const counts = new Map();
  for (const one of (await get('api/v1/events?' + join(wanted, `type=stopped&last=${MAX_EVENTS}`))).events) {
    if (one.shutdown) counts.set(keyOf(one), (counts.get(keyOf(one)) || 0) + 1);
  }
  return [...counts].sort((a, b) => by === 'day' ? (a[0] < b[0] ? -1 : 1) : b[1] - a[1]);
}

// Where the key of a count leads to: to those events alone, if there is a filter.
function addressOfKey(key) {
  if (view.by === 'vm' && key !== '-' && key !== '(others)') return addressOf({name: key});
  if (view.by === 'cause' && /^\w+$/.test(key)) return addressOf({cause: key});
  const [, year, month, day] = (view.by === 'day' && /^(\d+)-(\d+)-(\d+)$/.exec(key) || []).map(Number);
  return day ? addressOf({from: timeOf(year, month - 1, day), to: timeOf(year, month - 1, day + 1)}) : '';
}

// Draws what is counted; null: it is not known; undefined: not read yet.
function drawCounts(counts) {
  for (const button of $('log-bys').children) {
    button.setAttribute('aria-pressed', button.dataset.by === view.by);
    button.hidden = button.dataset.by === 'node' && !severalNodes() || button.dataset.by === 'who' && isFleet;
  }
  const ends = view.by === 'class' || !view.type || view.type === 'stopped';
  $('log-by-title').textContent = `${ends ? 'Ends' : 'Events'} by ${BY_NAMES[view.by]}`;
  $('log-bar').hidden = view.by !== 'class';
  $('log-counts').hidden = view.by === 'class';
  const most = Math.max(1, ...(counts || []).map(([, number]) => number));
  $('log-counts').replaceChildren(...(counts || []).map(([key, number]) => {
    const address = addressOfKey(key), shown = view.by === 'cause' ? words(key) : key;
    const text = element(address ? 'a' : 'span', '', shown), bar = element('span', 'bar');
    if (address) text.href = address;
    text.title = shown;
    bar.style.width = `${100 * number / most}%`;
    return rowOf(cell('end', String(number)), cell('name', text), cell('', bar));
  }));
  if (!counts || !counts.length) $('log-counts').append(element('p', 'none', counts ? 'None in this time.' : counts === null ? 'They are not known.' : '…'));
}

function beginCounts() {
  for (const [by, name] of Object.entries(BY_NAMES)) {
    const button = element('button', '', name);
    button.type = 'button';
    button.dataset.by = by;
    button.onclick = () => change({by});
    $('log-bys').append(button);
  }
  clickRows($('log-counts'));
}
