// The view of events: of all VMs, the newest first, with a chart of the ends.

const MAX_EVENTS = 1000;  // of one list of the API
const TYPES = [
  ['', 'All events'], ['stopped', 'Ends'], ['started', 'Starts'], ['paused,resumed', 'Pauses'],
  ['intent-declared,intent-late,intent-ended', 'Intents'],
  ['problems-changed,guest-panicked,watchdog-expired,io-error,memory-failure,monitor-lost,monitor-restored', 'Problems'],
  ['gap', 'Gaps'],
];
let listed = null, logBins = null;        // null: not known
let logCounts = {by: 'class', list: []};  // what is counted by; list: null: not known
let logRead = false;                // there was an answer, or a failure
let logStep = HOUR, logAsked = 0, logTimer = 0;

function rangeOf() {
  const to = view.to || new Date();
  return [view.from || new Date(to - RANGES[view.last]), to];
}
// The filter as parameters of the API: words with "=" are labels, PIDs their runs, others are parts of a name.
function filterOf() {
  const query = new URLSearchParams(), labels = [], names = [];
  let name = view.name;
  for (const word of wordsOf(view.q)) {
    const run = pids.get(word);
    if (run) query.set('pid', word);
    if (run) name = name || run.vm.name;
    else (word.includes('=') ? labels : names).push(word);
  }
  const anyCase = (word) => word.replace(/\[/g, '[[]').replace(/\p{L}/gu, (letter) => {
    const [small, large] = [letter.toLowerCase(), letter.toUpperCase()];
    return small === large || small.length + large.length > 2 ? letter : `[${small}${large}]`;
  });
  if (name) query.set('vm', exact(name));
  else if (names.length) query.set('vm', `*${names.map(anyCase).join('*')}*`);
  if (view.cause) query.set('cause', view.cause);
  if (labels.length) query.set('label', labels.join(','));
  return query;
}
// The times in a filter, as "02:00-02:10" or "2026-11-28 02:00-02:10", as {from, to}, and the rest as q. Without a day they
// are the latest that have begun.
function timesOf(text) {
  const found = /(?:^|\s)(?:(\d{4})-(\d\d)-(\d\d)[ T])?(\d\d?):(\d\d)(?:-|–|\.\.)(\d\d?):(\d\d)(?=\s|$)/.exec(text);
  if (!found) return null;
  const [year, month, day, ...clock] = found.slice(1).map(Number), today = fields(new Date());
  const at = (more, hour, minute) => year ? timeOf(year, month - 1, day + more, hour, minute)
                                          : timeOf(today[0], today[1], today[2] + more, hour, minute);
  const first = !year && at(0, clock[0], clock[1]) > new Date() ? -1 : 0;
  const from = at(first, clock[0], clock[1]), to = at(first, clock[2], clock[3]);
  return {q: text.replace(found[0], ' ').trim(), from, to: to > from ? to : at(first + 1, clock[2], clock[3])};
}
const join = (...queries) => queries.map(String).filter(Boolean).join('&');

async function loadLog() {
  const ask = ++logAsked;
  await findPids(wordsOf(view.q));
  if (ask !== logAsked || view.view !== 'events') return;
  const [from, to] = rangeOf(), [unit, step] = stepOf(from, to), filter = filterOf(), by = view.by;
  const wanted = new URLSearchParams({since: from.toISOString(), until: to.toISOString()});
  if (view.classes.length) wanted.set('class', view.classes.join(',').toLowerCase());
  if (view.type) wanted.set('type', view.type);
  const answer = get('api/v1/events?newest-first&' + join(wanted, filter, `last=${MAX_EVENTS}`));
  if (!servers.length) await Promise.allSettled([answer]);  // which says whether it is a fleet
  const [list, ends, counts] = await Promise.allSettled([answer, countEnds(from, to, unit, filter), countBy(by, join(wanted, filter))]);
  if (ask !== logAsked || view.view !== 'events') return;
  listed = list.status === 'fulfilled' ? list.value.events : null;
  logCounts = {by, list: counts.status === 'fulfilled' ? counts.value : null};
  logRead = true;
  logStep = step;
  logBins = ends.status === 'fulfilled' ? binsOf(from, to, step) : null;
  for (const [when, name, number] of logBins ? ends.value.counts : []) {
    const bin = binAt(logBins, when) || (when < logBins[0].start ? logBins[0] : logBins.at(-1));
    bin.counts[name] += number;
  }
  const failed = [list, ends, counts].find((one) => one.status === 'rejected');
  // Both requests go to the same nodes, so the problems of one answer are enough.
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
  drawCounts(logCounts.by === view.by ? logCounts.list : undefined);
  if (!logBins || view.by !== 'class') return;
  drawChart($('log-bar'), logBins, logStep, `Ends: ${countsText(totals) || 'none'}`,
            (bin, name) => addressOf({from: bin.start, to: bin.end, classes: name ? [name] : view.classes}));
}

// The restrictions of the events other than the time range: the filter's names and labels, the kind and the classes.
function drawOnly() {
  const parts = [];
  for (const [what, text] of [['cause', words(view.cause)], ['name', view.name]]) {
    if (!text) continue;
    const button = element('button', '', `${what === 'name' ? 'VM' : what}: ${text} ✕`);
    button.type = 'button';
    button.title = 'Show the others too';
    button.onclick = () => change({[what]: ''});
    parts.push(button);
  }
  for (const word of wordsOf(view.q)) {
    const run = pids.get(word);
    if (run) parts.push(element('span', 'count', `PID ${word}: ${run.vm.name}`));
  }
  $('log-only').hidden = parts.length === 0;
  $('log-only').replaceChildren(...(parts.length ? ['Only'] : []), ...parts);
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
  $('log-empty').textContent = listed ? (view.type === 'gap' ? 'No gap is known in this time.' : 'No event of this time matches.') : logRead ? 'The events of this time are not known.' : 'Reading the events …';
  $('log-count').textContent = !listed ? (logRead ? '–' : '…') : shown.length >= MAX_EVENTS ? `the newest ${MAX_EVENTS}` : String(shown.length);
  drawOnly();
  drawLogChart();
  $('log-rows').replaceChildren(...shown.map((one) => rowOf(
      cell('', timeElement(new Date(one.observe_time))), cell('node', one.cluster ? `${one.cluster}/${one.node}` : one.node || ''),
      cell('name', one.vm && one.vm.name ? vmLink(one.vm.name) : '–'), cell('type', typeOf(one)), cell('what', ...whatOf(one)))));
}

// Reads again, soon: for several events once.
function laterLog(pause = 1000) {
  if (logTimer) return;
  logTimer = setTimeout(() => { logTimer = 0; if (view.view === 'events') loadLog(); }, pause);
}

// Writes the shown events for a spreadsheet, in which no text becomes a formula.
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
  beginCounts();
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
  let typed = 0, timed = false;
  $('log-filter').oninput = () => {
    clearTimeout(typed);
    typed = setTimeout(() => {
      const q = $('log-filter').value, times = timesOf(q);
      change(times || {q, ...(timed ? {from: null, to: null} : {})});
      timed = Boolean(times);
    }, 250);
  };
  $('log-csv').onclick = saveCsv;
}
