#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

// What the whole stream must have in the end. Pure.

namespace vmeventd::e2e {

// The sequences of each journal: in the stream, in its order; in the journals.
using Sequences = std::map<std::string, std::vector<uint64_t>>;
// The copy of the stream that each server has, by the server's name.
using Copies = std::map<std::string, Sequences>;

struct Verdict {
  size_t copies = 1;
  uint64_t messages = 0;
  uint64_t late = 0;                  // stored behind a later event of the node
  std::vector<std::string> findings;  // empty: nothing is lost, twice or out of order
  std::vector<std::string> servers;   // that have different copies
};

// `window`: a late message stands behind at most so many later ones, those of its batch.
Verdict Judge(const Sequences& stream, const Sequences& journals, uint64_t window);
// Findings that all copies have in common: servers of NATS 2.9 that were killed may store different
// messages at one place, whatever the nodes sent.
Verdict Judge(const Copies& copies, const Sequences& journals, uint64_t window);

}  // namespace vmeventd::e2e
