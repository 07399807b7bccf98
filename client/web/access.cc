#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "base/openssl_ptr.h"
#include "client/web/api.h"

namespace vmeventd::client {
namespace {

bool IsNameOf(const std::string& certificate, const std::string& name) {
  const BioPtr pem(BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size())));
  const X509Ptr read(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr));
  return read != nullptr && X509_check_host(read.get(), name.data(), name.size(), 0, nullptr) == 1;
}

}  // namespace

bool IsOwnHost(absl::string_view host, const std::string& certificate) {
  const size_t colon = host.rfind(':');
  if (colon != absl::string_view::npos && !absl::EndsWith(host, "]")) host = host.substr(0, colon);
  const bool bracketed = absl::ConsumePrefix(&host, "[") && absl::ConsumeSuffix(&host, "]");
  const std::string name(host);
  in6_addr address;
  if (bracketed) return inet_pton(AF_INET6, name.c_str(), &address) == 1;
  return inet_pton(AF_INET, name.c_str(), &address) == 1 ||
         absl::EqualsIgnoreCase(name, "localhost") ||
         (!certificate.empty() && !name.empty() && IsNameOf(certificate, name));
}

bool HasToken(absl::string_view authorization, absl::string_view token) {
  const size_t blank = authorization.find(' ');
  if (blank == absl::string_view::npos) return false;
  const absl::string_view scheme = authorization.substr(0, blank);
  std::string given(absl::StripAsciiWhitespace(authorization.substr(blank)));
  if (absl::EqualsIgnoreCase(scheme, "Basic")) {
    std::string decoded;
    if (!absl::Base64Unescape(given, &decoded)) return false;
    given = decoded.substr(decoded.find(':') + 1);  // all of it where there is no user name
  } else if (!absl::EqualsIgnoreCase(scheme, "Bearer")) {
    return false;
  }
  return given.size() == token.size() &&
         CRYPTO_memcmp(given.data(), token.data(), token.size()) == 0;
}

}  // namespace vmeventd::client
