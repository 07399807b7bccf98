// The view of events: of all VMs, the newest first, with a chart of the ends.

const MAX_EVENTS = 1000;  // of one list of the API
const TYPES = [
  ['', 'All events'], ['stopped', 'Ends'], ['started', 'Starts'], ['paused,resumed', 'Pauses'],
  ['intent-declared,intent-withdrawn', 'Intents'],
  ['problems-changed,guest-panicked,watchdog-expired,io-error,memory-failure,monitor-lost,monitor-restored', 'Problems'],
  ['gap', 'Gaps'],
];
let listed = null, logBins = null;  // null: not known
let logRead = false;                // there was an answer, or a failure
let logStep = HOUR, logAsked = 0, logTimer = 0;

function rangeOf() {
  const to = view.to || new Date();
  return [view.from || new Date(to - RANGES[view.last]), to];
}
// The filter as parameters of the API: words with "=" are labels, others are parts of a name.
function filterOf() {
  const query = new URLSearchParams();
  const labels = [], names = [];
  for (const word of view.q.split(/\s+/).filter(Boolean)) (word.includes('=') ? labels : names).push(word);
  const anyCase = (word) => word.replace(/\[/g, '[[]').replace(/\p{L}/gu, (letter) => {
    const [small, large] = [letter.toLowerCase(), letter.toUpperCase()];
    return small === large || small.length + large.length > 2 ? letter : `[${small}${large}]`;
  });
  if (names.length) query.set('vm', `*${names.map(anyCase).join('*')}*`);
  if (labels.length) query.set('label', labels.join(','));
  return query;
}
const join = (...queries) => queries.map(String).filter(Boolean).join('&');

// The narrowest unit of the server's counts, and how much time has a bar: at most some 60 of them.
function stepOf(from, to) {
  const length = to - from;
  const step = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, DAY].find((one) => length / one <= 61) || DAY;
  return [step < HOUR ? 'minute' : length <= 40 * DAY ? 'hour' : 'day', step];
}

// Counts by class as [time, class, number], and the problems of the nodes that are not in them.
async function countEnds(from, to, unit, filter) {
  const times = new URLSearchParams({since: from.toISOString(), until: to.toISOString()});
  if (isFleet) {  // which counts nothing itself
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

async function loadLog() {
  const ask = ++logAsked, [from, to] = rangeOf(), [unit, step] = stepOf(from, to), filter = filterOf();
  const wanted = new URLSearchParams({since: from.toISOString(), until: to.toISOString(), last: MAX_EVENTS});
  if (view.classes.length) wanted.set('class', view.classes.join(',').toLowerCase());
  if (view.type) wanted.set('type', view.type);
  const answer = get('api/v1/events?newest-first&' + join(wanted, filter));
  if (!servers.length) await Promise.allSettled([answer]);  // which says whether it is a fleet
  const [list, ends] = await Promise.allSettled([answer, countEnds(from, to, unit, filter)]);
  if (ask !== logAsked || view.view !== 'events') return;
  listed = list.status === 'fulfilled' ? list.value.events : null;
  logRead = true;
  logStep = step;
  logBins = ends.status === 'fulfilled' ? binsOf(from, to, step) : null;
  for (const [when, name, number] of logBins ? ends.value.counts : []) {
    const bin = binAt(logBins, when) || (when < logBins[0].start ? logBins[0] : logBins.at(-1));
    bin.counts[name] += number;
  }
  const failed = [list, ends].find((one) => one.status === 'rejected');
  // Both questions are for the same nodes: the problems of one answer are enough.
  showProblems(failed ? [failed.reason.message] : list.value.problems.length ? list.value.problems : ends.value.problems);
  const full = listed && listed.length >= MAX_EVENTS;
  $('log-more').hidden = !full;
  if (full) $('log-older').href = addressOf({from, to: new Date(listed.at(-1).observe_time)});
  drawLog();
  if (failed) laterLog(3000);
}

function drawLogChart() {
  const totals = logBins && totalsOf(logBins);
  drawClasses($('log-classes'), totals, logRead ? '–' : '…');
  $('log-chart').hidden = !logBins;
  if (!logBins) return;
  drawChart($('log-bar'), logBins, logStep, `Ends: ${countsText(totals) || 'none'}`,
            (bin, name) => addressOf({from: bin.start, to: bin.end, classes: name ? [name] : view.classes}));
}

function drawLog() {
  const local = (t) => `${dayText(t)}T${clockText(t)}`, [from, to] = rangeOf();
  const chosen = view.from || view.to;
  for (const button of document.querySelectorAll('[data-last]')) {
    button.setAttribute('aria-pressed', !chosen && button.dataset.last === view.last);
  }
  if (document.activeElement !== $('log-from')) $('log-from').value = local(from);
  if (document.activeElement !== $('log-to')) $('log-to').value = local(to);
  if (document.activeElement !== $('log-filter')) $('log-filter').value = view.q;
  if (![...$('log-type').options].some((one) => one.value === view.type)) $('log-type').append(new Option(words(view.type), view.type));
  $('log-type').value = view.type;
  $('log-table').classList.toggle('nodes', severalNodes());
  const shown = listed || [];
  $('log-table').hidden = $('log-empty').hidden = false;
  (shown.length ? $('log-empty') : $('log-table')).hidden = true;
  $('log-empty').textContent = listed ? 'No event of this time matches.' : logRead ? 'The events of this time are not known.' : 'Reading the events …';
  $('log-count').textContent = !listed ? (logRead ? '–' : '…') : shown.length >= MAX_EVENTS ? `the newest ${MAX_EVENTS}` : String(shown.length);
  drawLogChart();
  $('log-rows').replaceChildren(...shown.map((one) => rowOf(
      cell('', timeElement(new Date(one.observe_time))), cell('node', one.cluster ? `${one.cluster}/${one.node}` : one.node || ''),
      cell('name', one.vm && one.vm.name ? vmLink(one.vm.name) : '–'), cell('type', words(one.type)), cell('what', ...whatOf(one)))));
}

// Reads again, soon: for several events once.
function laterLog(pause = 1000) {
  if (logTimer) return;
  logTimer = setTimeout(() => { logTimer = 0; if (view.view === 'events') loadLog(); }, pause);
}

// What is shown, for a spreadsheet, in which no text becomes a formula.
function csvText() {
  const quoted = (text) => `"${String(text || '').replace(/^(?=[=+\-@\t\r])/, "'").replace(/"/g, '""')}"`;
  const lines = [['time', 'node', 'vm', 'uuid', 'event', 'class', 'cause', 'what happened']];
  for (const one of listed || []) {
    const [ref, end] = [one.vm || {}, one.shutdown];
    lines.push([one.observe_time, one.node, ref.name, ref.uuid, strip(one.type), end && classOf(end), end && strip(end.cause), one.detail]);
  }
  return lines.map((line) => line.map(quoted).join(',') + '\r\n').join('');
}
function saveCsv() {
  const link = element('a');
  link.href = URL.createObjectURL(new Blob([csvText()], {type: 'text/csv'}));
  link.download = 'vm-events.csv';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function beginLog() {
  addClasses($('log-classes'));
  clickRows($('log-rows'));
  for (const [value, text] of TYPES) $('log-type').append(new Option(text, value));
  $('log-type').onchange = () => change({type: $('log-type').value});
  for (const button of document.querySelectorAll('[data-last]')) {
    button.onclick = () => change({last: button.dataset.last, from: null, to: null});
  }
  $('log-range').onsubmit = (event) => {
    event.preventDefault();
    const read = (id) => {
      const t = new Date($(id).value + (utc ? 'Z' : ''));
      return isNaN(t) ? null : t;
    };
    change({from: read('log-from'), to: read('log-to')});
  };
  let typed = 0;
  $('log-filter').oninput = () => {
    clearTimeout(typed);
    typed = setTimeout(() => change({q: $('log-filter').value}), 250);
  };
  $('log-csv').onclick = saveCsv;
}
