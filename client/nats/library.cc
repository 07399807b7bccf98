#include "client/nats/library.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace vmeventd::nats {
namespace {

#define VMEVENTD_TEXT_OF(number) #number
#define VMEVENTD_TEXT(number) VMEVENTD_TEXT_OF(number)
// Its functions may change with each minor version, and so does the file's name.
#define VMEVENTD_NATS_VERSION \
  VMEVENTD_TEXT(NATS_VERSION_MAJOR) "." VMEVENTD_TEXT(NATS_VERSION_MINOR)

Functions functions;

}  // namespace

const absl::Status& Load() {
  static const auto* const loaded =
      new absl::Status(LoadSharedLibrary("libnats.so." VMEVENTD_NATS_VERSION,
                                         "install the Debian package libnats" VMEVENTD_NATS_VERSION
                                         ", or build vmevents with the version that you have",
                                         {VMEVENTD_NATS_FUNCTIONS(VMEVENTD_FUNCTION_ENTRY)}));
  return *loaded;
}

const Functions& Lib() { return functions; }

std::string ErrorText(natsStatus status) {
  const char* const last = Lib().nats_GetLastError(nullptr);
  absl::string_view detail = last == nullptr ? "" : last;
  const absl::string_view text = Lib().natsStatus_GetText(status);
  // "(conn.c:3264): no connection": where in its source, and then the reason.
  if (absl::StartsWith(detail, "(")) {
    const size_t end = detail.find("): ");
    if (end != detail.npos) detail.remove_prefix(end + 3);
  }
  if (detail.empty() || absl::StrContains(text, detail)) return std::string(text);
  if (absl::StartsWithIgnoreCase(detail, text)) return std::string(detail);
  return absl::StrCat(text, " (", detail, ")");
}

}  // namespace vmeventd::nats
