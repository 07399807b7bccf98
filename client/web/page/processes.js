// The runs of processes: the kernel's log and ps name a VM by its PID.

const pids = new Map();        // an event of the run of each PID that was asked for; null: none is known
const askedPids = new Map();   // the questions that are not answered yet
const isPid = (word) => /^[1-9]\d{1,6}$/.test(word);
async function askPid(word) {
  try {
    const list = await get(`api/v1/events?pid=${word}&type=started,stopped&newest-first&last=1`);
    pids.set(word, list.events.find((one) => one.vm) || null);
  } catch {
    // The PID is asked for again with the next list.
  }
  askedPids.delete(word);
}
// Finds the PIDs among the words; a word that is a VM's name is not a PID. Returns whether it had to ask.
async function findPids(words) {
  const names = new Set([...vms.values()].map((vm) => vm.name));
  const unknown = words.filter((word) => isPid(word) && !pids.has(word) && !names.has(word));
  await Promise.all(unknown.map((word) => {
    if (!askedPids.has(word)) askedPids.set(word, askPid(word));
    return askedPids.get(word);
  }));
  return unknown.length > 0;
}
