#include "client/push/http.h"

#include <curl/curl.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/shared_library.h"
#include "base/text.h"
#include "client/nats/connection.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

void* libcurl = nullptr;  // set by LoadCurl(), and constant from then on
#define CURL_FUNCTION(name) VMEVENTD_FUNCTION_OF(libcurl, name)

const absl::Status& LoadCurl() {
  static const auto* const loaded = new absl::Status([] {
    const absl::StatusOr<void*> library =
        LoadSharedLibrary("libcurl.so.4", "install the Debian package libcurl4");
    if (!library.ok()) {
      return absl::FailedPreconditionError(absl::StrCat("push: ", library.status().message()));
    }
    libcurl = *library;
    if (CURL_FUNCTION(curl_global_init)(CURL_GLOBAL_DEFAULT) == CURLE_OK) return absl::OkStatus();
    return absl::InternalError("push: libcurl cannot be initialised");
  }());
  return *loaded;
}

// Deleter of the library's objects; a CURL is void.
struct CurlFree {
  void operator()(char* text) const { CURL_FUNCTION(curl_free)(text); }
  void operator()(CURLU* url) const { CURL_FUNCTION(curl_url_cleanup)(url); }
  void operator()(curl_slist* list) const { CURL_FUNCTION(curl_slist_free_all)(list); }
  void operator()(CURL* easy) const { CURL_FUNCTION(curl_easy_cleanup)(easy); }
};

constexpr size_t kMaxUrlBytes = 4096;

std::string PartOf(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (CURL_FUNCTION(curl_url_get)(url, part, &text, 0) != CURLUE_OK) return "";
  return std::unique_ptr<char, CurlFree>(text).get();
}

std::string HashOf(absl::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), hash.data());
  constexpr size_t kBytes = 8;
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(hash.data()), kBytes));
}

std::string KeyOf(std::string host, absl::string_view url) {
  std::replace_if(
      host.begin(), host.end(),
      [](char c) { return !absl::ascii_isalnum(c) && c != '.' && c != '-'; }, '_');
  constexpr size_t kMaxOfName = 100;
  return absl::StrCat(host.substr(0, kMaxOfName), "-", HashOf(url));
}

absl::StatusOr<PushTarget> ParseNatsTarget(absl::string_view url, bool insecure) {
  const auto servers = ParseNatsServers(url);
  if (!servers.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("URL: ", servers.status().message()));
  }
  PushTarget target;
  for (const ServerAddress& server : *servers) {
    target.nats.push_back(NatsUrl(server));
    if (server.tls || IsLoopback(server.host) || insecure) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("URL: ", NatsUrl(server),
                     " would get the events as plain text; write tls://, or allow it with "
                     "--insecure-http"));
  }
  target.shown = absl::StrJoin(target.nats, ",");
  target.key = KeyOf(servers->front().host, target.shown);
  return target;
}

}  // namespace

absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, bool insecure) {
  if (IsNatsUrl(url)) return ParseNatsTarget(url, insecure);
  if (!LoadCurl().ok()) return LoadCurl();
  const auto wrong = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  constexpr char kForm[] = "write https://HOST/PATH";
  if (url.empty() || url.size() > kMaxUrlBytes) {
    return wrong(
        absl::StrCat("URL: the text is ", url.empty() ? "empty" : "too long", "; ", kForm));
  }
  const std::unique_ptr<CURLU, CurlFree> parsed(CURL_FUNCTION(curl_url)());
  const bool clean =
      std::all_of(url.begin(), url.end(), [](char c) { return absl::ascii_isgraph(c); });
  if (!clean || !absl::StrContains(url, "://") ||
      CURL_FUNCTION(curl_url_set)(parsed.get(), CURLUPART_URL, std::string(url).c_str(),
                                  CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return wrong(absl::StrCat("URL: not a URL; ", kForm));
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
    return wrong("URL: the part after # is never sent; remove it");
  }
  PushTarget target;
  target.shown = EscapeForTerminal(
      absl::StrCat(scheme, "://", host, port.empty() ? "" : absl::StrCat(":", port)));
  // curl resolves localhost to loopback by itself.
  const std::string digits(absl::StripSuffix(absl::StripPrefix(host, "["), "]"));
  if (scheme == "http" && !insecure && !IsLoopback(digits)) {
    return wrong(absl::StrCat("URL: ", target.shown,
                              " would get the events as plain text; write https://, or allow it "
                              "with --insecure-http"));
  }
  target.url = PartOf(parsed.get(), CURLUPART_URL);
  target.key = KeyOf(host, target.url);
  return target;
}

namespace {

constexpr absl::Duration kLongestConnect = absl::Seconds(10);
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// Limit of what is returned of an answer's body.
constexpr size_t kMaxSaved = 1 << 10;

// A request that is under way, and the part of its answer that is read.
struct Exchange {
  std::stop_token stop;
  absl::Time end = absl::InfiniteFuture();
  std::string body;
};

size_t TakeBody(char* data, size_t size, size_t count, void* user) {
  auto* exchange = static_cast<Exchange*>(user);
  const size_t bytes = size * count;
  exchange->body.append(data, std::min(bytes, kMaxSaved - exchange->body.size()));
  return bytes;
}

// Called at least once a second. Returns whether to abort the request.
int CheckStop(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto* exchange = static_cast<Exchange*>(user);
  const absl::Time now = SteadyNow();
  if (exchange->stop.stop_requested()) exchange->end = std::min(exchange->end, now + kStopGrace);
  return now >= exchange->end ? 1 : 0;
}

class CurlClient {
 public:
  CurlClient(HttpOptions options, std::stop_token stop);
  const absl::Status& set_up() const { return set_up_; }
  HttpAnswer Post(const std::string& body, const std::vector<std::string>& headers) {
    std::unique_ptr<curl_slist, CurlFree> lines;
    for (const std::string& header : headers) {
      curl_slist* const longer = CURL_FUNCTION(curl_slist_append)(lines.get(), header.c_str());
      if (longer == nullptr) return {.fault = "out of memory"};
      (void)lines.release();  // `longer` is the owner
      lines.reset(longer);
    }
    Exchange exchange;
    exchange.stop = stop_;
    error_[0] = '\0';
    Set(CURLOPT_HTTPHEADER, lines.get());
    Set(CURLOPT_POSTFIELDS, body.c_str());
    Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    Set(CURLOPT_WRITEDATA, &exchange);
    Set(CURLOPT_XFERINFODATA, &exchange);
    if (!set_up_.ok()) return {.fault = std::string(set_up_.message())};
    const CURLcode code = CURL_FUNCTION(curl_easy_perform)(easy_.get());
    if (code == CURLE_ABORTED_BY_CALLBACK) return {.stopped = true};
    if (code != CURLE_OK) {
      absl::string_view why =
          error_[0] != '\0' ? error_.data() : CURL_FUNCTION(curl_easy_strerror)(code);
      if (absl::StrContains(why, "wrong version number")) {
        return {.fault = "it does not speak TLS: the URL's port may be that of http://"};
      }
      if (absl::StrContains(why, "SSL_ERROR_SYSCALL")) {
        return {.fault = "it ended the connection in the TLS handshake: it may not speak TLS"};
      }
      // "OpenSSL/3.0.19: error:0A000410:SSL routines::sslv3 alert handshake failure"
      const size_t numbers = why.find(": error:");
      const size_t reason = why.rfind("::");
      if (numbers == why.npos || reason == why.npos) return {.fault = EscapeForTerminal(why)};
      why.remove_prefix(reason + 2);
      return {.fault = absl::StrCat("TLS fails: ", EscapeForTerminal(why))};
    }
    long status = 0;
    CURL_FUNCTION(curl_easy_getinfo)(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    curl_off_t retry_after = 0;
    CURL_FUNCTION(curl_easy_getinfo)(easy_.get(), CURLINFO_RETRY_AFTER, &retry_after);
    return {.status = static_cast<int>(status),
            .retry_after = absl::Seconds(retry_after),
            .body = exchange.body};
  }

 private:
  template <typename Value>
  void Set(CURLoption option, Value value) {
    const CURLcode code = CURL_FUNCTION(curl_easy_setopt)(easy_.get(), option, value);
    if (code == CURLE_OK) return;
    set_up_.Update(
        absl::InternalError(absl::StrCat("libcurl refuses its option ", static_cast<int>(option),
                                         ": ", CURL_FUNCTION(curl_easy_strerror)(code))));
  }

  const HttpOptions options_;
  const std::stop_token stop_;
  absl::Status set_up_;
  std::array<char, CURL_ERROR_SIZE> error_{};
  const std::unique_ptr<CURL, CurlFree> easy_{CURL_FUNCTION(curl_easy_init)()};
};

CurlClient::CurlClient(HttpOptions options, std::stop_token stop)
    : options_(std::move(options)), stop_(std::move(stop)) {
  if (easy_ == nullptr) {
    set_up_ = absl::InternalError("libcurl cannot be initialised");
    return;
  }
  Set(CURLOPT_URL, options_.url.c_str());
  Set(CURLOPT_PROTOCOLS_STR, "http,https");
  Set(CURLOPT_POST, 1L);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_QUICK_EXIT, 1L);  // a resolver that hangs delays no stop
  // Plain HTTP goes to loopback, or where it was allowed to go, and to no proxy.
  if (absl::StartsWith(options_.url, "http:")) Set(CURLOPT_PROXY, "");
  Set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(options_.timeout)));
  Set(CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(absl::ToInt64Milliseconds(std::min(options_.timeout, kLongestConnect))));
  Set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  const TlsOptions& tls = options_.tls;
  if (!tls.ca_file.empty()) {
    Set(CURLOPT_CAINFO, tls.ca_file.c_str());
    Set(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // the system's authorities do not count
  }
  Set(CURLOPT_CA_CACHE_TIMEOUT, 0L);     // or a CA that was replaced is noticed a day later
  Set(CURLOPT_SSL_SESSIONID_CACHE, 0L);  // a session that is resumed reads no file
  if (!tls.cert_file.empty()) {
    Set(CURLOPT_SSLCERT, tls.cert_file.c_str());
    Set(CURLOPT_SSLKEY, tls.key_file.c_str());
  }
  Set(CURLOPT_WRITEFUNCTION, &TakeBody);
  Set(CURLOPT_ERRORBUFFER, error_.data());
  Set(CURLOPT_XFERINFOFUNCTION, &CheckStop);
  Set(CURLOPT_NOPROGRESS, 0L);
}

}  // namespace

absl::StatusOr<HttpPost> MakeHttpPost(HttpOptions options, std::stop_token stop) {
  if (!LoadCurl().ok()) return LoadCurl();
  const auto client = std::make_shared<CurlClient>(std::move(options), std::move(stop));
  if (!client->set_up().ok()) return client->set_up();
  return [client](const std::string& body, const std::vector<std::string>& headers) {
    return client->Post(body, headers);
  };
}

}  // namespace vmeventd::client
