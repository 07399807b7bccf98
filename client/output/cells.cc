#include "client/output/cells.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/colors.h"
#include "client/output/end_text.h"

namespace vmeventd::client {

std::string EndLine(const v1::ShutdownDetail& shutdown, absl::string_view message, bool wide) {
  std::string in_short = ShortEnd(shutdown);
  if (!wide) return in_short;
  const std::string evidence = absl::StrJoin(
      shutdown.evidence(), ", ",
      [](std::string* out, const v1::Evidence& one) { absl::StrAppend(out, one.what()); });
  return absl::StrCat(message.empty() ? absl::StrCat(in_short, ".")
                                      : IntentPrefix(shutdown) + EndSentence(shutdown, message),
                      evidence.empty() ? "" : absl::StrCat(" Seen: ", evidence, "."));
}

Cell ClassCell(const v1::ShutdownDetail& shutdown) {
  return {ClassWord(shutdown), ColorOf(shutdown.shutdown_class())};
}

}  // namespace vmeventd::client
