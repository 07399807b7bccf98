#pragma once

#include <string>

namespace vmeventd {

// Identity of the journal that the sequences belong to, and of its node.
struct JournalIdentity {
  std::string journal_id;
  std::string node_id;  // empty: not known
};

}  // namespace vmeventd
