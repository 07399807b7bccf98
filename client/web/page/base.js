'use strict';
// The page: lists of VMs, events and nodes, and a page for each VM, from /api/v1 and its stream. CMake makes one script of
// base.js, processes.js, list.js, chart.js, vm.js, counts.js, events.js, nodes.js and page.js. Text of VMs becomes text nodes alone.

// What all views use.

const $ = (id) => document.getElementById(id);
const GLYPHS = {CRASH: '▲', ADMIN: '◆', USER: '■', UNKNOWN: '?'};
const CLASSES = ['CRASH', 'ADMIN', 'USER', 'UNKNOWN'], WORST_FIRST = ['CRASH', 'UNKNOWN', 'ADMIN', 'USER'];
const MINUTE = 60e3, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

const strip = (word) => (word || '').replace(/^(VM_STATE|SHUTDOWN_CLASS|SHUTDOWN_CAUSE|EVENT_TYPE|INTENT_END)_/, '');
const words = (name) => strip(name).toLowerCase().replace(/_/g, ' ');
const classOf = (end) => strip(end.shutdown_class);
const typeOf = (event) => event.intent_end ? `intent ${words(event.intent_end)}` : words(event.type);
const wordsOf = (text) => text.split(/\s+/).filter(Boolean);
const noClasses = () => Object.fromEntries(WORST_FIRST.map((name) => [name, 0]));

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
function cell(className, ...content) {
  const made = element('div', className);
  made.setAttribute('role', 'cell');
  made.append(...content);
  return made;
}
function rowOf(...cells) {
  const made = element('div', 'row');
  made.setAttribute('role', 'row');
  made.append(...cells);
  return made;
}
function badge(end) {
  const name = classOf(end), unsure = (end.caveats || []).length > 0;
  return element('span', 'class ' + name, `${GLYPHS[name] || '?'} ${name}${unsure ? '?' : ''}`);
}
function vmLink(name) {
  const link = element('a', '', name);
  link.title = name;
  link.href = '#' + new URLSearchParams({vm: name});
  return link;
}
// A click anywhere in a row is one on its link, unless it selects text.
function clickRows(holder) {
  holder.onclick = (event) => {
    const row = event.target.closest('.row');
    const link = row && row.querySelector('a');
    if (link && !event.target.closest('a') && !getSelection().toString()) link.click();
  };
}

function age(from, to) {
  const seconds = Math.max(0, Math.floor((to - from) / 1000));
  const [m, h, d] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86400)];
  if (seconds < 60) return `${seconds} s`;
  if (m < 60) return `${m} min`;
  if (h < 24) return h < 10 && m % 60 ? `${h} h ${m % 60} m` : `${h} h`;
  return d < 10 && h % 24 ? `${d} d ${h % 24} h` : `${d} d`;
}

// Times are in the browser's zone, or in UTC if the server does not know that zone; the server's texts have the same
// zone.
const OWN_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
let utc = false;
function fields(t) {
  return utc ? [t.getUTCFullYear(), t.getUTCMonth(), t.getUTCDate(), t.getUTCHours(), t.getUTCMinutes(), t.getUTCSeconds()]
             : [t.getFullYear(), t.getMonth(), t.getDate(), t.getHours(), t.getMinutes(), t.getSeconds()];
}
const timeOf = (...parts) => utc ? new Date(Date.UTC(...parts)) : new Date(...parts);
const two = (number) => String(number).padStart(2, '0');
function dayText(t) {
  const [year, month, day] = fields(t);
  return `${year}-${two(month + 1)}-${two(day)}`;
}
function clockText(t) {
  const [, , , hour, minute] = fields(t);
  return `${two(hour)}:${two(minute)}`;
}
const timeText = (t) => `${dayText(t)} ${clockText(t)}:${two(fields(t)[5])}`;
function timeElement(when, text) {
  const made = element('time', '', text || timeText(when));
  made.dateTime = when.toISOString();
  made.title = timeText(when);
  return made;
}

// The zone of the server's texts: UTC where it does not know the browser's.
let textZone = OWN_ZONE;
// Asks the API. An error has the answer's status.
async function get(path, zone = textZone) {
  const answer = await fetch(path + (path.includes('?') ? '&' : '?') + new URLSearchParams({zone}));
  const body = await answer.json();
  if (answer.status === 400 && zone !== 'UTC' && await get(path, 'UTC').catch(() => null)) {
    textZone = 'UTC';  // the request is valid except for its zone
    return get(path);
  }
  if (!answer.ok) throw Object.assign(new Error(body.error), {status: answer.status});
  if (zone === textZone) {
    utc = body.zone !== OWN_ZONE;
    $('zone').textContent = `times in ${body.zone}`;
  }
  showServers(body);
  return body;
}
let servers = [], isFleet = false;
const severalNodes = () => isFleet || servers.length > 1;
function showServers(body) {
  [servers, isFleet] = [body.servers, body.fleet];
  const several = severalNodes();
  $('source').textContent = isFleet || !several ? servers.join() : `${servers.length} nodes`;
  $('source').title = servers.join(', ');
  document.querySelector('[data-view=nodes]').hidden = !several;
}
function showProblems(texts) {
  $('problems').replaceChildren(...[...new Set(texts)].map((text) => element('p', '', text)));
}

// The address: #q=TEXT&class=CRASH,USER&trouble&sort=ends, #vm=NAME&range=month,
// #view=events&last=week&q=TEXT&class=CRASH&type=stopped&cause=HOST_KILL&name=NAME&by=who, or with from=TIME&to=TIME,
// or #view=nodes.
let view = {};
const BYS = ['class', 'who', 'vm', 'cause', 'day', 'node'];  // what ends are counted by
const RANGES = {hour: HOUR, day: DAY, week: 7 * DAY, month: 30 * DAY};
function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  const time = (name) => {
    const read = new Date(query.get(name) || '');
    return isNaN(read) ? null : read;
  };
  view = {
    view: query.get('vm') !== null ? 'vm' : ['events', 'nodes'].includes(query.get('view')) ? query.get('view') : 'vms',
    vm: query.get('vm'), range: query.get('range') === 'month' ? 'month' : 'day', q: query.get('q') || '',
    classes: (query.get('class') || '').split(',').filter((one) => GLYPHS[one]), sort: query.get('sort') || 'trouble',
    trouble: query.has('trouble'), last: RANGES[query.get('last')] ? query.get('last') : 'day', type: query.get('type') || '',
    from: time('from'), to: time('to'), by: BYS.includes(query.get('by')) ? query.get('by') : 'class',
    cause: query.get('cause') || '', name: query.get('name') || '',
  };
}
function addressOf(changes) {
  const now = {...view, ...changes}, query = new URLSearchParams();
  if (now.view === 'vm') {
    query.set('vm', now.vm);
    if (now.range === 'month') query.set('range', 'month');
    return '#' + query;
  }
  if (now.view !== 'vms') query.set('view', now.view);
  if (now.view === 'events') {
    if (now.from) query.set('from', now.from.toISOString());
    if (now.to) query.set('to', now.to.toISOString());
    if (!now.from && !now.to && now.last !== 'day') query.set('last', now.last);
    for (const name of ['type', 'cause', 'name']) if (now[name]) query.set(name, now[name]);
    if (now.by !== 'class') query.set('by', now.by);
  }
  if (now.q) query.set('q', now.q);
  if (now.classes.length) query.set('class', now.classes.join(','));
  if (now.view === 'vms' && now.trouble) query.set('trouble', '1');
  if (now.view === 'vms' && now.sort !== 'trouble') query.set('sort', now.sort);
  return '#' + query;
}
function change(changes) {
  history.replaceState(null, '', addressOf(changes));
  readAddress();
  update();
}

// Buttons that choose classes, with a number each.
function addClasses(holder) {
  for (const name of CLASSES) {
    const button = element('button', name, `${GLYPHS[name]} ${name}`);
    button.type = 'button';
    button.dataset.class = name;
    button.append(element('b', '', '…'));
    button.onclick = () => change({
      classes: view.classes.includes(name) ? view.classes.filter((one) => one !== name) : [...view.classes, name]});
    holder.append(button);
  }
}
// Without counts each button has the sign `unknown`.
function drawClasses(holder, counts, unknown) {
  for (const button of holder.querySelectorAll('[data-class]')) {
    button.lastChild.textContent = counts ? counts[button.dataset.class] : unknown;
    button.setAttribute('aria-pressed', view.classes.includes(button.dataset.class));
  }
}
