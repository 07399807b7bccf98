// The page of one VM.

let ends = null;  // null: they are not known
let events = [], opened = null, asked = 0;
// The pattern that only this name matches.
const exact = (name) => name.replace(/[*?[]/g, '[$&]');

async function loadVm() {
  const name = view.vm, ask = ++asked, about = encodeURIComponent(exact(name));
  const [why, stopped, newest] = await Promise.allSettled([
    get('api/v1/vms/' + encodeURIComponent(name)),
    get(`api/v1/events?vm=${about}&type=stopped&since=31d&last=1000`),
    get(`api/v1/events?vm=${about}&last=100&newest-first`)]);
  if (ask !== asked || view.vm !== name) return;
  const own = (list) => list.value.events.filter((one) => one.vm && one.vm.name === name);
  // Ends of the VM that has the name now; an earlier VM of the name had its own.
  const first = why.status === 'fulfilled' && why.value.stories[0];
  const uuid = first && (first.vm ? first.vm.ref.uuid : first.last_end.vm.uuid);
  const another = (one) => uuid && one.vm.uuid && one.vm.uuid !== uuid;
  const known = first && stopped.status === 'fulfilled';
  ends = known ? own(stopped).filter((one) => !another(one)) : null;
  events = newest.status === 'fulfilled' ? own(newest) : [];
  for (const one of events) one.another = another(one);
  const failed = [why, stopped, newest].find((one) => one.status === 'rejected');
  const texts = why.status === 'fulfilled'
      ? why.value.stories.map((story) => element('pre', story.last_end ? classOf(story.last_end.shutdown) : '', story.text)) : [];
  if (failed) texts.push(element('p', 'notice', failed.reason.message));
  $('why').replaceChildren(...texts);
  drawVm();
}

function drawVm() {
  drawBar();
  const several = new Set(events.map((one) => one.node)).size > 1;
  $('vm-events').hidden = events.length === 0;
  $('event-rows').replaceChildren(...events.map((one) => rowOf(
      cell('', timeElement(new Date(one.observe_time))), cell('type', typeOf(one)),
      cell('what', ...whatOf(one), several ? ` (on ${one.node})` : '', one.another ? ` (another VM of this name, UUID ${one.vm.uuid})` : ''))));
}
function whatOf(event) {
  return event.shutdown ? [badge(event.shutdown), ' ', event.detail] : [event.detail];
}

// A bar for each hour of the last 24, or each day of the last 30.
function drawBar() {
  $('vm-ends').hidden = !ends;
  if (!ends) return;
  const month = view.range === 'month', step = month ? DAY : HOUR, now = new Date();
  const [year, monthOfYear, day] = fields(now);
  const bins = binsOf(month ? timeOf(year, monthOfYear, day - 29) : new Date(now - 23 * HOUR), now, step);
  for (const one of ends) {
    const bin = binAt(bins, new Date(one.observe_time));
    if (bin) ++bin.counts[classOf(one.shutdown)];
  }
  const totals = totalsOf(bins);
  const summary = `${month ? 'Last 30 days' : 'Last 24 hours'}: ${countsText(totals) || 'no end'}`;
  drawChart($('bar'), bins, step, summary);
  $('legend').replaceChildren(...(sumOf(totals) ? [] : [summary + '.']));
  for (const [name, number] of Object.entries(totals)) {
    if (number) $('legend').append(element('span', 'class ' + name, `${GLYPHS[name]} ${name} ${number}`));
  }
  for (const button of document.querySelectorAll('[data-range]')) button.setAttribute('aria-pressed', button.dataset.range === view.range);
}

function openVm() {
  if (opened === view.vm) return drawVm();
  opened = view.vm;
  $('vm-title').textContent = view.vm;
  for (const id of ['why', 'bar', 'legend', 'event-rows']) $(id).replaceChildren();
  [ends, events] = [null, []];
  drawVm();
  window.scrollTo(0, 0);
  $('vm-title').focus({preventScroll: true});
  loadVm();
}
