#include "client/push/curl_library.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {
namespace {

CurlFunctions curl_functions;

absl::Status CurlIsMissing(absl::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("push: libcurl is missing (", what, "): install the Debian package libcurl4"));
}

absl::Status LoadFunctions() {
  void* const library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return CurlIsMissing(dlerror());
#define VMEVENTD_LOAD(name)                                                                     \
  curl_functions.name =                                                                         \
      reinterpret_cast<decltype(curl_functions.name)>(dlsym(library, #name)); /* as dlsym(3) */ \
  if (curl_functions.name == nullptr) return CurlIsMissing(dlerror());
  VMEVENTD_CURL_FUNCTIONS(VMEVENTD_LOAD)
#undef VMEVENTD_LOAD
  if (curl_functions.curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) return absl::OkStatus();
  return absl::InternalError("push: libcurl cannot be initialised");
}

}  // namespace

const absl::Status& LoadCurl() {
  static const auto* const loaded = new absl::Status(LoadFunctions());
  return *loaded;
}

const CurlFunctions& Curl() { return curl_functions; }

}  // namespace vmeventd::client
