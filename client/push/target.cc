#include "client/push/target.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr char kAlertsPath[] = "/api/v2/alerts";
constexpr size_t kMostUrlBytes = 4096;

std::string PartOf(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return "";
  std::string value = text;
  curl_free(text);
  return value;
}

bool IsLoopback(absl::string_view host) {
  if (host == "localhost") return true;  // which curl resolves to loopback by itself
  const std::string digits(absl::StripSuffix(absl::StripPrefix(host, "["), "]"));
  in_addr four{};
  if (inet_pton(AF_INET, digits.c_str(), &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
  in6_addr six{};
  return inet_pton(AF_INET6, digits.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

std::string HashOf(absl::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  constexpr size_t kBytes = 8;
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash.data()), kBytes));
}

}  // namespace

absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, PushFormat format,
                                           bool insecure) {
  const auto wrong = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  constexpr char kForm[] = "write https://HOST/PATH";
  if (url.empty() || url.size() > kMostUrlBytes) {
    return wrong(
        absl::StrCat("URL: the text is ", url.empty() ? "empty" : "too long", "; ", kForm));
  }
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  const bool clean =
      std::all_of(url.begin(), url.end(), [](char c) { return absl::ascii_isgraph(c); });
  if (!clean || !absl::StrContains(url, "://") ||
      curl_url_set(parsed.get(), CURLUPART_URL, std::string(url).c_str(),
                   CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return wrong(absl::StrCat("URL: the text is no URL; ", kForm));
  }
  const std::string scheme = PartOf(parsed.get(), CURLUPART_SCHEME);
  const std::string host = PartOf(parsed.get(), CURLUPART_HOST);
  const std::string port = PartOf(parsed.get(), CURLUPART_PORT);
  if (scheme != "https" && scheme != "http") {
    return wrong(absl::StrCat("URL: ", EscapeForTerminal(scheme), " is not HTTP; ", kForm));
  }
  if (!PartOf(parsed.get(), CURLUPART_USER).empty() ||
      !PartOf(parsed.get(), CURLUPART_PASSWORD).empty()) {
    return wrong(
        "URL: a password there is seen by every user of the host; write the header Authorization "
        "into a file for --header-file");
  }
  if (!PartOf(parsed.get(), CURLUPART_FRAGMENT).empty()) {
    return wrong("URL: what follows # is never sent; leave it out");
  }
  PushTarget target;
  target.shown = EscapeForTerminal(
      absl::StrCat(scheme, "://", host, port.empty() ? "" : absl::StrCat(":", port)));
  if (scheme == "http" && !insecure && !IsLoopback(host)) {
    return wrong(absl::StrCat("URL: ", target.shown,
                              " would get the events as plain text; write https://, or allow it "
                              "with --insecure-http"));
  }
  if (format == PushFormat::kAlertmanager && PartOf(parsed.get(), CURLUPART_PATH) == "/") {
    curl_url_set(parsed.get(), CURLUPART_PATH, kAlertsPath, 0);
  }
  target.url = PartOf(parsed.get(), CURLUPART_URL);
  std::string name = host;
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return !absl::ascii_isalnum(c) && c != '.' && c != '-'; }, '_');
  constexpr size_t kMostOfName = 100;
  target.key = absl::StrCat(name.substr(0, kMostOfName), "-", HashOf(target.url));
  return target;
}

}  // namespace vmeventd::client
