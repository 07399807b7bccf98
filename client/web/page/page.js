'use strict';
// The page: a list of VMs and a page for each, from /api/v1 and its stream. Text of VMs becomes text
// nodes alone.

const $ = (id) => document.getElementById(id);
const GLYPHS = {CRASH: '▲', ADMIN: '◆', USER: '■', UNKNOWN: '?'};
const STATES = ['RUNNING', 'PAUSED', 'SUSPENDED', 'GUEST_DOWN', 'UNREACHABLE', 'STOPPED'];
const HOUR = 3600e3, DAY = 24 * HOUR;

const strip = (word) => (word || '').replace(/^(VM_STATE|SHUTDOWN_CLASS|SHUTDOWN_CAUSE|EVENT_TYPE)_/, '');
const words = (name) => strip(name).toLowerCase().replace(/_/g, ' ');
const textsOf = (problems) => (problems || []).map((one) => one.text);
const classOf = (end) => strip(end.shutdown_class);

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
function badge(end) {
  const name = classOf(end), unsure = (end.caveats || []).length > 0;
  return element('span', 'class ' + name, `${GLYPHS[name] || '?'} ${name}${unsure ? '?' : ''}`);
}

function age(from, to) {
  const seconds = Math.max(0, Math.floor((to - from) / 1000));
  const [m, h, d] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86400)];
  if (seconds < 60) return `${seconds} s`;
  if (m < 60) return `${m} min`;
  if (h < 24) return h < 10 && m % 60 ? `${h} h ${m % 60} m` : `${h} h`;
  return d < 10 && h % 24 ? `${d} d ${h % 24} h` : `${d} d`;
}
const two = (number) => String(number).padStart(2, '0');
const dayText = (t) => `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
const timeText = (t) => `${dayText(t)} ${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
function timeElement(when, text) {
  const made = element('time', '', text || timeText(when));
  made.dateTime = when.toISOString();
  made.title = timeText(when);
  return made;
}

// The address: #q=TEXT&class=CRASH,USER&sort=ends, or #vm=NAME&range=month.
let view = {};
let listHash = '#';
function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  view = {
    vm: query.get('vm'), range: query.get('range') === 'month' ? 'month' : 'day', q: query.get('q') || '',
    classes: (query.get('class') || '').split(',').filter((one) => GLYPHS[one]), sort: query.get('sort') || 'state',
  };
}
function addressOf(changes) {
  const now = {...view, ...changes}, query = new URLSearchParams();
  if (now.vm !== null) {
    query.set('vm', now.vm);
    if (now.range === 'month') query.set('range', 'month');
  } else {
    if (now.q) query.set('q', now.q);
    if (now.classes.length) query.set('class', now.classes.join(','));
    if (now.sort !== 'state') query.set('sort', now.sort);
  }
  return '#' + query;
}
function change(changes) {
  history.replaceState(null, '', addressOf(changes));
  readAddress();
  update();
}

// The VMs.
const vms = new Map();
const keyOf = (name, source, one) => JSON.stringify([one.cluster || '', one.node || '', name, source]);

function describe(vm) {
  vm.text = [vm.name, vm.node, vm.cluster, words(vm.state), vm.state, vm.end && classOf(vm.end),
             vm.end && words(vm.end.cause), ...vm.labels, ...vm.problems].join(' ').toLowerCase();
  return vm;
}
function fromList(one) {
  const ref = one.ref, end = one.last_end || one.shutdown;
  return describe({
    key: keyOf(ref.name, ref.source, one), name: ref.name, node: one.node || '', cluster: one.cluster || '',
    run: ref.run_id, state: strip(one.state), since: new Date(one.state_time || 0), ends: one.ends, end,
    stale: one.stale, problems: textsOf(one.problems), intent: one.intent, sequence: Number(one.last_sequence),
    labels: Object.entries(ref.labels || {}).map(([key, value]) => `${key}=${value}`), fresh: 0,
  });
}

// Changes the VM that an event is about. Events that the list has already are left out.
function apply(event) {
  const ref = event.vm;
  if (!ref || !ref.name) return;
  const key = keyOf(ref.name, ref.source, event), type = strip(event.type);
  const when = new Date(event.observe_time);
  let vm = vms.get(key);
  if (!vm) {
    vm = fromList({ref, node: event.node, cluster: event.cluster, state: event.state,
                   state_time: event.observe_time, last_sequence: 0, ends: event.node && event.cluster ? undefined : 0});
    vms.set(key, vm);
  }
  const sequence = Number(event.sequence);
  if (sequence && sequence <= vm.sequence) return;
  vm.sequence = sequence || vm.sequence;
  if (type === 'STARTED') vm.run = ref.run_id;
  if (type === 'STOPPED') {
    if (vm.ends !== undefined) ++vm.ends;
    vm.end = event.shutdown;
    if (vm.intent && ref.run_id === vm.run) vm.intent = undefined;
    $('news').textContent = `${vm.name} has ended: ${classOf(vm.end)}, ${words(vm.end.cause)}`;
  }
  if (ref.run_id === vm.run) {
    const state = strip(event.state);
    if (state && state !== 'UNSPECIFIED' && state !== vm.state) [vm.state, vm.since] = [state, when];
    if (type === 'PROBLEMS_CHANGED' || (event.problems || []).length) vm.problems = textsOf(event.problems);
    if (state === 'STOPPED') vm.problems = [];
    if (type === 'INTENT_DECLARED') vm.intent = event.intent;
    if (type === 'INTENT_WITHDRAWN') vm.intent = undefined;
  }
  vm.fresh = Date.now();
  describe(vm);
}

// The list.
const rank = (vm) => STATES.indexOf(vm.state);
const classRank = (vm) => vm.end ? ['CRASH', 'UNKNOWN', 'ADMIN', 'USER'].indexOf(classOf(vm.end)) : 9;
const ORDERS = {
  state: (a, b) => rank(a) - rank(b) || (a.state === 'STOPPED' ? b.since - a.since : 0),
  name: () => 0, node: (a, b) => a.node < b.node ? -1 : a.node > b.node ? 1 : 0,
  since: (a, b) => b.since - a.since, ends: (a, b) => (b.ends || 0) - (a.ends || 0),
  class: (a, b) => classRank(a) - classRank(b),
};
const COLUMNS = [['state', 'State', ''], ['name', 'Name', ''], ['node', 'Node', 'node'],
                 ['since', 'Since', 'since'], ['ends', 'Ends', 'ends end'], ['class', 'Last end', 'last'], ['', 'Why', 'why']];
let shown = [];             // VMs in the order of their rows
const rows = new Map();     // elements of the rows that are drawn, by key
let rowHeight = 34;

function select() {
  const wanted = view.q.toLowerCase().split(/\s+/).filter(Boolean);
  const counts = {CRASH: 0, ADMIN: 0, USER: 0, UNKNOWN: 0};
  shown = [];
  for (const vm of vms.values()) {
    if (!wanted.every((word) => vm.text.includes(word))) continue;
    const name = vm.end && classOf(vm.end);
    if (name in counts) ++counts[name];
    if (!view.classes.length || view.classes.includes(name)) shown.push(vm);
  }
  const order = ORDERS[view.sort] || ORDERS.state;
  shown.sort((a, b) => order(a, b) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0) || (a.key < b.key ? -1 : 1));
  for (const button of $('classes').children) {
    button.lastChild.textContent = counts[button.dataset.class];
    button.setAttribute('aria-pressed', view.classes.includes(button.dataset.class));
  }
}

function fillRow(row, vm, now) {
  const link = row.querySelector('a') || element('a');
  link.textContent = vm.name;
  link.title = vm.name;
  link.href = '#' + new URLSearchParams({vm: vm.name});
  const kind = vm.state === 'RUNNING' ? 'up' : vm.state === 'STOPPED' ? 'down' : 'odd';
  const why = [];
  if (vm.intent) why.push(element('em', '', `⚑ ${vm.intent.actor}: ${vm.intent.reason}`), ' ');
  if (vm.problems.length) why.push(element('em', '', `⚠ ${vm.problems.join('; ')}`), ' ');
  if (vm.end) why.push(words(vm.end.cause));
  const cells = [
    cell('state ' + kind, words(vm.state) + (vm.stale ? ' (stale)' : '')), row.children[1] || cell('name', link),
    cell('node', vm.cluster ? `${vm.cluster}/${vm.node}` : vm.node), cell('since', timeElement(vm.since, age(vm.since, now))),
    cell('ends end' + (vm.ends ? '' : ' none'), vm.ends === undefined ? '–' : String(vm.ends)), cell('last', vm.end ? badge(vm.end) : ''), cell('why', ...why)];
  cells[6].title = cells[6].textContent;
  // The cell of the name stays in the document, or its link would lose the focus.
  for (const one of [...row.children]) if (one !== cells[1]) one.remove();
  if (row.firstChild) {
    row.prepend(cells[0]);
    row.append(...cells.slice(2));
  } else {
    row.append(...cells);
  }
  row.className = 'row' + (vm.state === 'STOPPED' ? ' gone' : '') + (now - vm.fresh < 2500 ? ' fresh' : '');
}

// Draws the rows in sight and some more.
function draw(refill) {
  if (view.vm !== null) return;
  const body = $('rows'), now = Date.now(), margin = 12;
  const top = window.scrollY - body.getBoundingClientRect().top - window.scrollY;
  const first = Math.max(0, Math.floor(top / rowHeight) - margin);
  const last = Math.min(shown.length, Math.ceil((top + window.innerHeight) / rowHeight) + margin);
  const wanted = new Set();
  for (let i = first; i < last; ++i) wanted.add(shown[i].key);
  for (const [key, row] of rows) {
    if (wanted.has(key)) continue;
    row.remove();
    rows.delete(key);
  }
  for (let i = first; i < last; ++i) {
    const vm = shown[i];
    let row = rows.get(vm.key);
    const made = !row;
    if (made) {
      row = element('div');
      row.setAttribute('role', 'row');
      rows.set(vm.key, row);
    }
    if (made || refill) fillRow(row, vm, now);
    row.style.top = i * rowHeight + 'px';
    row.dataset.index = i;
    row.setAttribute('aria-rowindex', i + 2);
    // In the order of their places, for the Tab key.
    const before = i > first ? rows.get(shown[i - 1].key).nextSibling : body.firstChild;
    if (before !== row && !row.contains(document.activeElement)) body.insertBefore(row, before);
  }
}

function drawList() {
  select();
  rowHeight = parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--row'));
  const all = [...vms.values()];
  $('vms').classList.toggle('nodes', new Set(all.map((vm) => keyOf('', '', vm))).size > 1);
  $('vms').setAttribute('aria-rowcount', shown.length + 1);
  $('vms').hidden = shown.length === 0;
  $('rows').style.height = shown.length * rowHeight + 'px';
  const running = all.filter((vm) => vm.state !== 'STOPPED').length;
  $('count').textContent = !loaded ? '' : shown.length === all.length ? `${running} alive, ${all.length - running} stopped`
                                                         : `${shown.length} of ${all.length}`;
  $('empty').hidden = shown.length > 0;
  $('empty').textContent = !loaded ? 'Reading the list …' : all.length ? 'No VM matches the filter.' : 'No VM is known. “vmevents doctor” on the node says what keeps vmeventd from seeing one.';
  for (const column of $('columns').children) {
    if (column.dataset.sort === view.sort) column.setAttribute('aria-sort', ['name', 'node', 'state', 'class'].includes(view.sort) ? 'ascending' : 'descending');
    else column.removeAttribute('aria-sort');
  }
  if (document.activeElement !== $('filter')) $('filter').value = view.q;
  draw(true);
}

// The page of one VM.
let ends = [], events = [], opened = null, asked = 0;
async function get(path) {
  const answer = await fetch(path);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}
// The pattern that only this name matches.
const exact = (name) => name.replace(/[*?[]/g, '[$&]');

async function loadVm() {
  const name = view.vm, ask = ++asked, about = encodeURIComponent(exact(name));
  const [why, stopped, newest] = await Promise.allSettled([
    get('api/v1/vms/' + encodeURIComponent(name)),
    get(`api/v1/events?vm=${about}&type=stopped&since=31d&last=1000`),
    get(`api/v1/events?vm=${about}&last=100&newest-first`)]);
  if (ask !== asked || view.vm !== name) return;
  const own = (list) => list.status === 'fulfilled' ? list.value.events.filter((one) => one.vm && one.vm.name === name) : [];
  [ends, events] = [own(stopped), own(newest)];
  const texts = why.status === 'fulfilled'
      ? why.value.stories.map((story) => element('pre', story.last_end ? classOf(story.last_end.shutdown) : '', story.text))
      : [element('p', 'notice', why.reason.message)];
  $('why').replaceChildren(...texts);
  drawVm();
}

function drawVm() {
  drawBar();
  const several = new Set(events.map((one) => one.node)).size > 1;
  $('event-rows').replaceChildren(...events.map((one) => {
    const row = element('div', 'row');
    row.setAttribute('role', 'row');
    const what = [];
    if (one.shutdown) what.push(badge(one.shutdown), ' ', words(one.shutdown.cause), one.message ? ' · ' : '');
    if (one.message) what.push(one.message);
    if (!one.message && one.intent) what.push(`${one.intent.actor}: ${one.intent.reason}`);
    if (several) what.push(` (on ${one.node})`);
    row.append(cell('', timeElement(new Date(one.observe_time))), cell('type', words(one.type)), cell('what', ...what));
    return row;
  }));
}

function svg(tag, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A bar for each hour of the last 24, or each day of the last 30: its ends by class.
function drawBar() {
  const month = view.range === 'month', count = month ? 30 : 24;
  const startOf = (i) => {
    const t = new Date();
    return month ? new Date(t.getFullYear(), t.getMonth(), t.getDate() - (count - 1 - i))
                 : new Date(Math.floor(t / HOUR) * HOUR - (count - 1 - i) * HOUR);
  };
  const starts = Array.from({length: count + 1}, (_, i) => startOf(i));
  const bins = Array.from({length: count}, () => ({CRASH: 0, UNKNOWN: 0, ADMIN: 0, USER: 0}));
  const totals = {CRASH: 0, UNKNOWN: 0, ADMIN: 0, USER: 0};
  for (const one of ends) {
    const when = new Date(one.observe_time), bin = bins[starts.findLastIndex((start) => start <= when)];
    if (!bin) continue;
    ++bin[classOf(one.shutdown)];
    ++totals[classOf(one.shutdown)];
  }
  const width = Math.max(280, $('bar').clientWidth), left = 12, step = (width - 2 * left) / count, base = 84;
  const most = Math.max(1, ...bins.map((bin) => bin.CRASH + bin.UNKNOWN + bin.ADMIN + bin.USER));
  const unit = Math.min(18, 66 / most);
  const list = Object.entries(totals).filter(([, number]) => number).map(([name, number]) => `${number} ${name}`);
  const summary = `${month ? 'Last 30 days' : 'Last 24 hours'}: ${list.join(', ') || 'no end'}`;
  const picture = svg('svg', {viewBox: `0 0 ${width} 110`, height: 110, role: 'img', 'aria-label': summary});
  picture.append(svg('line', {class: 'axis', x1: left, x2: width - left, y1: base + .5, y2: base + .5}));
  const every = Math.ceil(54 / step / (month ? 1 : 3)) * (month ? 1 : 3);
  bins.forEach((bin, i) => {
    const x = left + i * step, start = starts[i], far = count - 1 - i;
    if (month ? far % every === 0 : start.getHours() % every === 0) {
      const label = month ? `${two(start.getMonth() + 1)}-${two(start.getDate())}` : `${two(start.getHours())}:${two(start.getMinutes())}`;
      const anchor = x < 24 ? 'start' : x + step > width - 24 ? 'end' : 'middle';
      picture.append(svg('line', {class: 'axis', x1: x + .5, x2: x + .5, y1: base, y2: base + 5}),
                     svg('text', {x: month ? x + step / 2 : x, y: base + 18, 'text-anchor': anchor}, label));
    }
    let y = base;
    for (const [name, number] of Object.entries(bin)) {
      if (!number) continue;
      const height = number * unit, wide = Math.max(3, Math.min(step - 2, 28));
      y -= height;
      const block = svg('rect', {class: name, x: x + (step - wide) / 2, y: y + .5, width: wide, height: Math.max(1, height - 1), rx: 2});
      block.append(svg('title', {}, `${timeText(start).slice(0, month ? 10 : 16)}: ${number} ${name}`));
      picture.append(block);
      if (height >= 11 && wide >= 9) picture.append(svg('text', {class: 'glyph', x: x + step / 2, y: y + height / 2 + 3}, GLYPHS[name]));
    }
  });
  $('bar').replaceChildren(picture);
  $('legend').replaceChildren(...(list.length ? [] : [summary + '.']));
  for (const [name, number] of Object.entries(totals)) {
    if (number) $('legend').append(element('span', 'class ' + name, `${GLYPHS[name]} ${name} ${number}`));
  }
  for (const button of document.querySelectorAll('[data-range]')) button.setAttribute('aria-pressed', button.dataset.range === view.range);
}

// Draws what the address names.
let listScroll = 0;
function update() {
  const vm = view.vm;
  if (vm !== null && $('vm').hidden) listScroll = window.scrollY;
  const back = vm === null && !$('vm').hidden;
  $('list').hidden = vm !== null;
  $('vm').hidden = vm === null;
  document.title = vm === null ? 'Virtual machines' : `${vm} – virtual machine`;
  if (vm === null) {
    listHash = location.hash || '#';
    opened = null;
    drawList();
    if (back) {
      window.scrollTo(0, listScroll);
      draw(false);
    }
    return;
  }
  $('back').href = listHash;
  $('home').href = listHash;
  if (opened === vm) return drawVm();
  opened = vm;
  $('vm-title').textContent = vm;
  for (const id of ['why', 'bar', 'legend', 'event-rows']) $(id).replaceChildren();
  [ends, events] = [[], []];
  window.scrollTo(0, 0);
  $('vm-title').focus({preventScroll: true});
  loadVm();
}

// What happens: the stream is opened before the list is read, so that nothing is between them.
let stream = null, loaded = false, loading = false, waiting = [], timer = 0, again = 0;
function status(live, text) {
  $('status').dataset.live = live;
  $('status').textContent = text;
}
function later() {
  if (!timer) timer = setTimeout(() => { timer = 0; if (view.vm === null) drawList(); }, 100);
}
async function load() {
  if (loading) return;
  loading = true;
  try {
    const list = await get('api/v1/vms?all');
    vms.clear();
    for (const one of list.vms) {
      const vm = fromList(one);
      vms.set(vm.key, vm);
    }
    loaded = true;
    $('source').textContent = list.source;
    $('problems').replaceChildren(...list.problems.map((text) => element('p', '', text)));
  } catch (error) {
    $('problems').replaceChildren(element('p', '', error.message));
    clearTimeout(again);
    again = setTimeout(load, 3000);
  }
  loading = false;
  waiting.splice(0).forEach(apply);
  later();
}
function take(event) {
  if (loading) waiting.push(event);
  else apply(event);
  later();
  if (view.vm !== null && event.vm && event.vm.name === view.vm) setTimeout(loadVm, 100);
}
function connect() {
  if (stream) stream.close();
  stream = new EventSource('api/v1/events/stream');
  stream.onopen = () => load();
  stream.addEventListener('open', () => status('yes', 'live'));
  stream.addEventListener('note', (event) => {
    const text = JSON.parse(event.data).text;
    status(text.startsWith('connected to') ? 'yes' : 'no', text);
  });
  stream.addEventListener('gap', load);
  stream.onmessage = (event) => {
    status('yes', 'live');
    take(JSON.parse(event.data));
  };
  stream.onerror = () => {
    status('no', 'the connection is lost; connecting again');
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  };
}

function begin() {
  for (const [sort, title, className] of COLUMNS) {
    const column = element('div', className);
    column.setAttribute('role', 'columnheader');
    column.dataset.sort = sort;
    if (sort) {
      const button = element('button', '', title);
      button.type = 'button';
      button.onclick = () => change({sort});
      column.append(button);
    } else {
      column.textContent = title;
    }
    $('columns').append(column);
  }
  for (const name of ['CRASH', 'ADMIN', 'USER', 'UNKNOWN']) {
    const button = element('button', name, `${GLYPHS[name]} ${name}`);
    button.type = 'button';
    button.dataset.class = name;
    button.append(element('b', '', '0'));
    button.onclick = () => change({
      classes: view.classes.includes(name) ? view.classes.filter((one) => one !== name) : [...view.classes, name]});
    $('classes').append(button);
  }
  for (const button of document.querySelectorAll('[data-range]')) {
    button.onclick = () => change({range: button.dataset.range});
  }
  $('filter').oninput = () => change({q: $('filter').value});
  $('rows').onkeydown = (event) => {
    const steps = {ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -1e9, End: 1e9}[event.key];
    const row = event.target.closest('.row');
    if (!steps || !row) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(shown.length - 1, Number(row.dataset.index) + steps));
    const top = $('rows').getBoundingClientRect().top + index * rowHeight;
    if (top < 2 * rowHeight || top + 2 * rowHeight > window.innerHeight) window.scrollBy(0, top - window.innerHeight / 2);
    draw(false);
    rows.get(shown[index].key).querySelector('a').focus({preventScroll: true});
  };
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && view.vm === null && document.activeElement !== $('filter') && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      $('filter').focus();
    }
  });
  let frame = 0;
  window.addEventListener('scroll', () => {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(false); });
  }, {passive: true});
  window.addEventListener('resize', () => { if (view.vm === null) drawList(); else drawBar(); });
  window.addEventListener('hashchange', () => { readAddress(); update(); });
  // A browser has six connections to a server: a page that nobody sees takes none.
  let hide = 0;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hide);
    if (document.hidden) hide = setTimeout(() => { stream.close(); stream = null; }, 10000);
    else if (!stream) connect();
  });
  setInterval(later, 5000);
  if ('scrollRestoration' in history) history.scrollRestoration = 'manual';
  readAddress();
  update();
  connect();
}
begin();
