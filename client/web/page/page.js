// Draws what the address names, and takes what happens.

const VIEWS = {vms: 'list', vm: 'vm', events: 'log', nodes: 'nodes'};
let listScroll = 0, before = '', listHash = '#';
function update() {
  const title = {vms: 'Virtual machines', vm: `${view.vm} – virtual machine`, events: 'Events', nodes: 'Nodes'}[view.view];
  const came = before !== view.view, shownView = view.view === 'events' && view.type === 'gap' ? 'missed' : view.view;
  if (before === 'vms' && came) listScroll = window.scrollY;
  before = view.view;
  for (const [name, section] of Object.entries(VIEWS)) $(section).hidden = name !== view.view;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === shownView) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = title;
  if (view.view !== 'vm') {
    opened = null;
    listHash = location.hash || '#';
  }
  if (came && view.view !== 'nodes') clearTimeout(nodesTimer);
  if (came && (view.view === 'vms' || view.view === 'vm')) showProblems(problems);
  if (view.view === 'vm') {
    $('back').href = listHash;
    $('back').textContent = listHash.includes('view=events') ? '← All events' : '← All virtual machines';
    return openVm();
  }
  if (view.view === 'events') {
    drawLog();
    if (stream) loadLog();  // otherwise when the stream is open
  } else if (view.view === 'nodes') {
    loadNodes();
  } else {
    drawList();
    if (loaded) findListed();  // otherwise when the list is loaded
  }
  if (!came) return;
  window.scrollTo(0, view.view === 'vms' ? listScroll : 0);
  draw(false);
}

// The stream is opened before the list is read, so that nothing is between them.
let stream = null, loaded = false, loading = false, waiting = [], timer = 0, again = 0, problems = [];
function status(live, text) {
  $('status').dataset.live = live;
  $('status').textContent = text;
}
function later() {
  if (!timer) timer = setTimeout(() => { timer = 0; if (view.view === 'vms') drawList(); }, 100);
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
    problems = list.problems;
    pids.clear();
    if (view.view === 'vms') findListed();
  } catch (error) {
    problems = [error.message];
    clearTimeout(again);
    again = setTimeout(load, 3000);
  }
  if (view.view === 'vms' || view.view === 'vm') showProblems(problems);
  loading = false;
  waiting.splice(0).forEach(apply);
  later();
}
// Reads the list again, soon: for several events once.
let reloading = 0;
function reload(pause = 200) {
  clearTimeout(reloading);
  reloading = setTimeout(load, pause);
}
function take(event) {
  if (event.vm && strip(event.type) === 'STARTED') pids.delete(String(event.vm.pid));
  if (loading) waiting.push(event);
  else apply(event);
  later();
  if (view.view === 'vm' && event.vm && event.vm.name === view.vm) setTimeout(loadVm, 100);
  if (view.view === 'events' && !view.to) laterLog();
}
// The shown data may have changed unseen.
function loadAll() {
  load();
  if (view.view === 'vm') loadVm();
  if (view.view === 'events') loadLog();
}
// Timer of the first read of a connection, until a node delivers; 0: it was read.
let unread = 0;
function loadFirst() {
  clearTimeout(unread);
  unread = 0;
  loadAll();
}
// The node is there again, or another one of several is.
function loadLater() {
  load();
  if (view.view === 'vm') loadVm();
  if (view.view === 'events') laterLog(3000);
}
function connect() {
  if (stream) stream.close();
  stream = new EventSource('api/v1/events/stream?' + new URLSearchParams({zone: textZone}));
  stream.addEventListener('open', (event) => {
    status('yes', 'live');
    if (event.data) return unread ? loadFirst() : loadLater();
    // This event is the browser's own: the server sends another one as soon as a node delivers.
    clearTimeout(unread);
    unread = setTimeout(loadFirst, 1000);
  });
  stream.addEventListener('note', (event) => status('no', JSON.parse(event.data).text));
  stream.addEventListener('gap', loadAll);
  stream.onmessage = (event) => take(JSON.parse(event.data));
  stream.onerror = () => {
    status('no', 'the connection is lost; connecting again');
    if (view.view === 'events' && !logRead) loadLog();
    if (stream.readyState !== EventSource.CLOSED) return;
    // The answer of a list has the reason that the server does not know the zone.
    const zone = textZone;
    get('api/v1/events?last=1').catch(() => {}).then(() => setTimeout(connect, zone === textZone ? 3000 : 0));
  };
}

function begin() {
  beginList();
  beginLog();
  clickRows($('node-rows'));
  for (const button of document.querySelectorAll('[data-range]')) {
    button.onclick = () => change({range: button.dataset.range});
  }
  document.addEventListener('keydown', (event) => {
    const filter = {vms: 'filter', events: 'log-filter'}[view.view];
    const types = ['INPUT', 'SELECT'].includes(document.activeElement.tagName);
    if (event.key === '/' && filter && !types && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      $(filter).focus();
    }
  });
  let frame = 0;
  window.addEventListener('scroll', () => {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(false); });
  }, {passive: true});
  window.addEventListener('resize', () => {
    if (view.view === 'vms') drawList();
    if (view.view === 'vm') drawBar();
    if (view.view === 'events') drawLogChart();
  });
  window.addEventListener('hashchange', () => { readAddress(); update(); });
  // A browser has six connections to a server: a page that nobody sees takes none.
  let hide = 0;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hide);
    if (document.hidden) hide = setTimeout(() => { stream.close(); stream = null; }, 10000);
    else if (!stream) connect();
  });
  setInterval(later, 5000);
  setInterval(() => { if (view.view === 'events' && !view.to && !document.hidden) laterLog(); }, 60000);
  if ('scrollRestoration' in history) history.scrollRestoration = 'manual';
  readAddress();
  update();
  connect();
}
begin();
