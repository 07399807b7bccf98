#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/watcher/session/classification_document.h"
#include "tests/watcher/session/truth_table.h"

// Prints docs/internals/classification.md ("rules") or tests/golden/classification.txt
// ("verdicts").
int main(int argc, char** argv) {
  const absl::string_view what = argc == 2 ? argv[1] : "";
  if (what != "rules" && what != "verdicts") {
    std::fputs("usage: classification_document rules|verdicts\n", stderr);
    return 2;
  }
  const std::string text =
      what == "rules" ? vmeventd::ClassificationDocument() : vmeventd::truth_table::Text();
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : 1;
}
