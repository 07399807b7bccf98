#include "base/nats/library.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd::nats {
namespace {

#define VMEVENTD_TEXT_OF(number) #number
#define VMEVENTD_TEXT(number) VMEVENTD_TEXT_OF(number)
// Its functions may change with each minor version, and so does the file's name.
#define VMEVENTD_NATS_VERSION \
  VMEVENTD_TEXT(NATS_VERSION_MAJOR) "." VMEVENTD_TEXT(NATS_VERSION_MINOR)
constexpr char kLibrary[] = "libnats.so." VMEVENTD_NATS_VERSION;

Functions functions;

absl::Status Missing(absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("NATS's client library is missing (", what,
                   "): install the Debian package libnats" VMEVENTD_NATS_VERSION
                   ", or build vmeventd with the version that you have"));
}

absl::Status LoadFunctions() {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Missing(dlerror());
#define VMEVENTD_LOAD(name)                                                                \
  functions.name =                                                                         \
      reinterpret_cast<decltype(functions.name)>(dlsym(library, #name)); /* as dlsym(3) */ \
  if (functions.name == nullptr) return Missing(dlerror());
  VMEVENTD_NATS_FUNCTIONS(VMEVENTD_LOAD)
#undef VMEVENTD_LOAD
  return absl::OkStatus();
}

}  // namespace

const absl::Status& Load() {
  static const auto* const loaded = new absl::Status(LoadFunctions());
  return *loaded;
}

const Functions& Lib() { return functions; }

std::string ErrorText(natsStatus status) {
  const char* const detail = Lib().nats_GetLastError(nullptr);
  const std::string text = Lib().natsStatus_GetText(status);
  return detail == nullptr || *detail == '\0' || text == detail
             ? text
             : absl::StrCat(text, " (", detail, ")");
}

}  // namespace vmeventd::nats
