// The view of several nodes: a row for each, as `vmevents status` has it.

let nodesTimer = 0;

function nodeRow(one, now) {
  const name = one.cluster ? `${one.cluster}/${one.node}` : one.node;
  const link = element('a', '', name);
  link.href = '#' + new URLSearchParams({q: one.node});
  const away = !one.reachable, silent = one.lag !== undefined, known = !away || silent;
  const up = away ? (silent ? 'silent' : 'away') : one.start_time ? age(new Date(one.start_time), now) : 'yes';
  const troubled = element(one.trouble.length ? 'a' : 'span', '', String(one.trouble.length));
  if (one.trouble.length) troubled.href = '#' + new URLSearchParams({q: one.node, trouble: 1});
  troubled.title = one.trouble.map((vm) => `${vm.vm}: ${vm.why}`).join('\n');
  const counted = Object.entries(one.ends_in_24h), sum = counted.reduce((all, [, number]) => all + number, 0);
  const journal = silent ? `lag ${one.lag}` : one.journal_writable ? 'writable' : 'NOT WRITABLE';
  const ill = !silent && !one.journal_writable;
  return rowOf(
      cell('name', link), cell('state ' + (away ? 'odd' : 'up'), up), cell('end', known ? String(one.vms) : '–'),
      cell('end' + (one.trouble.length ? ' odd' : ''), known ? troubled : '–'),
      cell('', known ? String(sum) : '–', known && sum ? ' (' + counted.map(([kind, number]) => `${kind} ${number}`).join(', ') + ')' : ''),
      cell(ill && known ? 'odd' : '', known ? journal : '–'), cell('', known ? one.version : '–'), cell('what', one.problem));
}

async function loadNodes() {
  clearTimeout(nodesTimer);
  try {
    const list = await get('api/v1/nodes');
    if (view.view !== 'nodes') return;
    showProblems([]);  // the row of a node has its problem
    const now = Date.now();
    $('node-rows').replaceChildren(...list.nodes.map((one) => nodeRow(one, now)));
    $('nodes-count').textContent = `${list.nodes.filter((one) => one.reachable).length} of ${list.nodes.length} up`;
  } catch (error) {
    showProblems([error.message]);
  }
  if (view.view === 'nodes') nodesTimer = setTimeout(loadNodes, 10000);
}
