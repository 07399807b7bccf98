#pragma once

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
  uint64_t messages = 0;
  uint64_t late = 0;                  // stored behind a later event of the node
  std::vector<std::string> findings;  // empty: nothing is lost, twice or out of order
  std::vector<std::string> servers;   // what their copies of the stream lack, where these differ
};

// `window`: a late message stands behind at most so many later ones, those of its batch.
Verdict Judge(const Sequences& stream, const Sequences& journals, uint64_t window);
// Servers whose copies differ have a defect of their own, whatever the nodes sent: old servers of
// NATS store different messages at one place after some of them were killed. Then the best copy
// shows what the nodes did.
Verdict Judge(const Copies& copies, const Sequences& journals, uint64_t window);

}  // namespace vmeventd::e2e
