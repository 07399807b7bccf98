#include "client/output/ends_count.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/enum_names.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

std::string EndsText(const std::map<v1::ShutdownClass, int>& ends, absl::Duration window) {
  int all = 0;
  std::vector<std::string> classes;
  for (const auto& [shutdown_class, count] : ends) {
    all += count;
    classes.push_back(absl::StrCat(ShortName(shutdown_class), " ", count));
  }
  return absl::StrCat(all == 0 ? "none" : absl::StrCat(all), " in the last ", DurationText(window),
                      all == 0 ? "" : ": ", absl::StrJoin(classes, ", "));
}

}  // namespace vmeventd::client
