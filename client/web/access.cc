#include "client/web/access.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace vmeventd::client {
namespace {

bool IsNameOf(const std::string& certificate, const std::string& name) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> pem(
      BIO_new_mem_buf(certificate.data(), static_cast<int>(certificate.size())), BIO_free);
  const std::unique_ptr<X509, decltype(&X509_free)> read(
      PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr), X509_free);
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
