#include "server/eventlog/evidence_types.h"

#include <iterator>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

bool IsEvidence(v1::EventType type) { return absl::c_linear_search(kEvidence, type); }

std::string EvidenceNames() {
  std::string names;
  for (const v1::EventType type : kEvidence) {
    const bool is_last = type == *std::rbegin(kEvidence);
    absl::StrAppend(&names,
                    names.empty() ? ""
                    : is_last     ? " and "
                                  : ", ",
                    EventTypeName(static_cast<EventType>(type)));
  }
  return names;
}

}  // namespace vmeventd
