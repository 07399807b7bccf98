#include "client/connect/tls_files.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <filesystem>
#include <functional>
#include <string>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

absl::StatusOr<SslContextPtr> LoadTlsFiles(const TlsOptions& options) {
  SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* const tls = context.get();
  // Programs that run vmevents could not answer a question for a passphrase.
  SSL_CTX_set_default_passwd_cb(tls, [](char*, int, int, void*) { return -1; });
  const struct {
    const char* option;
    const std::string& path;
    const char* content;
    std::function<int(const char* path)> load;
  } files[] = {
      {"--tls-ca", options.ca_file, "the certificate of a CA",
       [tls](const char* path) { return SSL_CTX_load_verify_locations(tls, path, nullptr); }},
      {"--tls-cert", options.cert_file, "a certificate",
       [tls](const char* path) { return SSL_CTX_use_certificate_chain_file(tls, path); }},
      {"--tls-key", options.key_file, "the key of the certificate without a passphrase",
       [tls](const char* path) {
         return SSL_CTX_use_PrivateKey_file(tls, path, SSL_FILETYPE_PEM);
       }}};
  for (const auto& [option, path, content, load] : files) {
    if (path.empty()) continue;
    ERR_clear_error();
    std::error_code error;
    const bool is_regular = std::filesystem::is_regular_file(path, error);
    if (is_regular && load(path.c_str()) == 1) continue;
    const unsigned long fault = ERR_get_error();
    ERR_clear_error();
    const char* const reason = ERR_reason_error_string(fault);
    return absl::FailedPreconditionError(absl::StrCat(
        option, ": ", EscapeForTerminal(path), " cannot be used (",
        error         ? error.message()
        : !is_regular ? "no regular file"
        : reason      ? reason
                      : ErrnoText(ERR_GET_REASON(fault)),
        "): name a PEM file that the user who runs vmevents may read, with ", content));
  }
  return context;
}

}  // namespace vmeventd::client
