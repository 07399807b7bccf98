// The view of VMs.

const STATES = ['RUNNING', 'PAUSED', 'SUSPENDED', 'GUEST_DOWN', 'UNREACHABLE', 'STOPPED'];
const textsOf = (problems) => (problems || []).map((one) => one.text);

const vms = new Map();
// Two VMs of one name in one place differ if both have a UUID; QEMU reports its UUID some time after its start.
const placeOf = (name, source, one) => JSON.stringify([one.cluster || '', one.node || '', name, source]);
function vmOf(ref, one) {
  const place = placeOf(ref.name, ref.source, one);
  const same = [...vms.values()].filter((vm) => vm.place === place);
  const newest = (list) => list.sort((a, b) => (a.state === 'STOPPED') - (b.state === 'STOPPED') || b.since - a.since)[0];
  return same.find((vm) => vm.run === ref.run_id) || same.find((vm) => ref.uuid && vm.uuid === ref.uuid) ||
         newest(same.filter((vm) => !ref.uuid || !vm.uuid));
}

function describe(vm) {
  vm.text = [vm.name, vm.node, vm.cluster, words(vm.state), vm.state, vm.pause, vm.end && classOf(vm.end),
             vm.end && words(vm.end.cause), vm.endText, ...vm.labels, ...vm.problems].join(' ').toLowerCase();
  return vm;
}
function fromList(one) {
  const ref = one.ref, end = one.shutdown || one.last_end;
  return describe({
    place: placeOf(ref.name, ref.source, one), key: placeOf(ref.name, ref.source, one) + (ref.uuid || ''),
    uuid: ref.uuid || '', name: ref.name, node: one.node || '', cluster: one.cluster || '',
    run: ref.run_id, pid: String(ref.pid), state: strip(one.state), pause: one.pause_text || '', arrives: one.pause_reason === 'inmigrate', since: new Date(one.state_time || 0), ends: one.ends, end,
    endText: one.end_text || '', endTime: new Date(strip(one.state) === 'STOPPED' ? one.state_time : one.last_end_time || 0),
    stale: one.stale, problems: textsOf(one.problems), intent: one.intent, sequence: Number(one.last_sequence),
    labels: Object.entries(ref.labels || {}).map(([key, value]) => `${key}=${value}`), fresh: 0,
  });
}

// Changes the VM that an event is about. Events that the list has already are left out.
function apply(event) {
  const ref = event.vm;
  if (!ref || !ref.name) return;
  const type = strip(event.type);
  const when = new Date(event.observe_time);
  let vm = vmOf(ref, event);
  // The run began before its UUID was known: it is another VM of that name.
  if (vm && vm.uuid && ref.uuid && vm.uuid !== ref.uuid) return reload();
  if (!vm) {
    vm = fromList({ref, node: event.node, cluster: event.cluster, state: event.state,
                   state_time: event.observe_time, last_sequence: 0, ends: event.node && event.cluster ? undefined : 0});
    vms.set(vm.key, vm);
  }
  vm.uuid = vm.uuid || ref.uuid || '';
  const sequence = Number(event.sequence);
  if (sequence && sequence <= vm.sequence) return;
  vm.sequence = sequence || vm.sequence;
  if (type === 'STARTED') {
    [vm.run, vm.pid] = [ref.run_id, String(ref.pid)];
    if (!ref.uuid && vm.uuid) reload(2000);  // no event reports its UUID
  }
  if (type === 'STOPPED') {
    if (vm.ends !== undefined) ++vm.ends;
    [vm.end, vm.endText, vm.endTime] = [event.shutdown, event.detail, when];
    if (vm.intent && ref.run_id === vm.run) vm.intent = undefined;
    $('news').textContent = `${vm.name} has ended: ${classOf(vm.end)}, ${words(vm.end.cause)}`;
  }
  if (ref.run_id === vm.run) {
    const state = strip(event.state);
    if (state && state !== 'UNSPECIFIED' && state !== vm.state) [vm.state, vm.since] = [state, when];
    if (state) {
      vm.pause = event.pause_text || '';
      vm.arrives = event.pause_reason === 'inmigrate';
    }
    if (type === 'PROBLEMS_CHANGED' || (event.problems || []).length) vm.problems = textsOf(event.problems);
    if (state === 'STOPPED') vm.problems = [];
    if (type === 'INTENT_DECLARED') vm.intent = event.intent;
    if (type === 'INTENT_ENDED') vm.intent = undefined;
  }
  vm.fresh = Date.now();
  describe(vm);
}

// Returns which VMs need attention, the worst first, in the same way as client/output/trouble.cc: tests compare both
// with tests/golden/trouble.txt.
const NO_TROUBLE = 7, INTENT_WAITS = 2 * MINUTE;
function troubleOf(vm, now) {
  if (vm.problems.length) return 0;
  if (vm.state === 'GUEST_DOWN') return 1;
  if (vm.state === 'UNREACHABLE') return 2;
  if (vm.state === 'PAUSED' && !vm.arrives) return 3;  // the target of a migration waits for it
  const expires = vm.state !== 'STOPPED' && vm.intent && vm.intent.expire_time;
  if (expires && new Date(expires) - now < INTENT_WAITS) return 4;
  const recent = vm.end && now - vm.endTime < DAY && classOf(vm.end);
  return recent === 'CRASH' ? 5 : recent === 'UNKNOWN' ? 6 : NO_TROUBLE;
}

// The list.
const rank = (vm) => STATES.indexOf(vm.state);
const classRank = (vm) => vm.end ? WORST_FIRST.indexOf(classOf(vm.end)) : WORST_FIRST.length;
const byState = (a, b) => rank(a) - rank(b) || (a.state === 'STOPPED' ? b.since - a.since : 0);
const ORDERS = {
  trouble: (a, b) => a.rank - b.rank || byState(a, b),
  state: byState,
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
  const wanted = wordsOf(view.q.toLowerCase()).map((word) => [word, pids.get(word)])
      .map(([word, event]) => [word, event && event.vm && vmOf(event.vm, event)]);
  const counts = noClasses(), now = Date.now();
  let troubled = 0;
  shown = [];
  for (const vm of vms.values()) {
    if (!wanted.every(([word, ofPid]) => vm.text.includes(word) || vm.pid === word || vm === ofPid)) continue;
    const name = vm.end && classOf(vm.end);
    if (name in counts) ++counts[name];
    vm.rank = troubleOf(vm, now);
    if (vm.rank < NO_TROUBLE) ++troubled;
    if ((!view.classes.length || view.classes.includes(name)) && (!view.trouble || vm.rank < NO_TROUBLE)) shown.push(vm);
  }
  const order = ORDERS[view.sort] || ORDERS.trouble;
  shown.sort((a, b) => order(a, b) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0) || (a.key < b.key ? -1 : 1));
  drawClasses($('classes'), loaded ? counts : null, '…');
  $('trouble').lastChild.textContent = loaded ? troubled : '…';
  $('trouble').setAttribute('aria-pressed', view.trouble);
}

// Looks for the words that may be PIDs of earlier runs.
let typedPid = 0;
function findListed() {
  clearTimeout(typedPid);
  const unknown = wordsOf(view.q).filter((word) => ![...vms.values()].some((vm) => vm.pid === word));
  typedPid = setTimeout(async () => { if (await findPids(unknown) && view.view === 'vms') drawList(); }, 250);
}

function fillRow(row, vm, now) {
  const link = row.querySelector('a') || vmLink(vm.name);
  const kind = vm.state === 'RUNNING' ? 'up' : vm.state === 'STOPPED' ? 'down' : 'odd';
  const why = [];
  if (vm.intent) why.push(element('em', '', `⚑ ${vm.intent.actor}: ${vm.intent.reason}`), ' ');
  if (vm.problems.length) why.push(element('em', '', `⚠ ${vm.problems.join('; ')}`), ' ');
  if (vm.state === 'PAUSED' && vm.pause) why.push(element('em', '', `paused ${vm.pause}`), ' ');
  if (vm.end) why.push(vm.endText);
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
  if (view.view !== 'vms') return;
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
  $('vms').classList.toggle('nodes', new Set(all.map((vm) => placeOf('', '', vm))).size > 1);
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


function beginList() {
  for (const [sort, title, className] of COLUMNS) {
    const column = element('div', className);
    column.setAttribute('role', 'columnheader');
    column.dataset.sort = sort;
    if (sort) {
      const button = element('button', '', title);
      button.type = 'button';
      button.onclick = () => change({sort: view.sort === sort ? 'trouble' : sort});
      column.append(button);
    } else {
      column.textContent = title;
    }
    $('columns').append(column);
  }
  const trouble = element('button', 'odd', '⚠ In trouble');
  trouble.type = 'button';
  trouble.id = 'trouble';
  trouble.append(element('b', '', '…'));
  trouble.onclick = () => change({trouble: !view.trouble});
  $('classes').append(trouble);
  addClasses($('classes'));
  clickRows($('rows'));
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
}
