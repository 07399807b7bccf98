#include "client/push/curl_library.h"

#include "absl/strings/str_cat.h"

namespace vmeventd::client {
namespace {

CurlFunctions functions;

absl::Status Load() {
  const absl::Status loaded =
      LoadSharedLibrary("libcurl.so.4", "install the Debian package libcurl4",
                        {VMEVENTD_CURL_FUNCTIONS(VMEVENTD_FUNCTION_ENTRY)});
  if (!loaded.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("push: ", loaded.message()));
  }
  if (functions.curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) return absl::OkStatus();
  return absl::InternalError("push: libcurl cannot be initialised");
}

}  // namespace

const absl::Status& LoadCurl() {
  static const auto* const loaded = new absl::Status(Load());
  return *loaded;
}

const CurlFunctions& Curl() { return functions; }

}  // namespace vmeventd::client
