#include "client/sinks/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/loopback.h"
#include "base/shared_library.h"
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

std::string PartOf(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (CURL_FUNCTION(curl_url_get)(url, part, &text, flags) != CURLUE_OK) return "";
  return std::unique_ptr<char, CurlFree>(text).get();
}

// Scheme and host, safe for a terminal: the rest of a URL may be a secret.
std::string ShownUrl(CURLU* url) {
  const std::string port = PartOf(url, CURLUPART_PORT);
  return EscapeForTerminal(absl::StrCat(PartOf(url, CURLUPART_SCHEME), "://",
                                        PartOf(url, CURLUPART_HOST), port.empty() ? "" : ":",
                                        port));
}

std::string ShownUrl(const char* url) {
  const std::unique_ptr<CURLU, CurlFree> parsed(CURL_FUNCTION(curl_url)());
  if (CURL_FUNCTION(curl_url_set)(parsed.get(), CURLUPART_URL, url, 0) != CURLUE_OK) return "";
  return ShownUrl(parsed.get());
}

}  // namespace

absl::StatusOr<PushTarget> ParseHttpTarget(absl::string_view url, bool insecure) {
  if (!LoadCurl().ok()) return LoadCurl();
  const auto wrong = [](absl::string_view what) { return absl::InvalidArgumentError(what); };
  const std::unique_ptr<CURLU, CurlFree> parsed(CURL_FUNCTION(curl_url)());
  const bool clean = std::all_of(url.begin(), url.end(), absl::ascii_isgraph);
  const CURLUcode code =
      clean ? CURL_FUNCTION(curl_url_set)(parsed.get(), CURLUPART_URL, std::string(url).c_str(),
                                          CURLU_DISALLOW_USER)
            : CURLUE_MALFORMED_INPUT;
  if (code == CURLUE_USER_NOT_ALLOWED) {
    return wrong(
        "URL: a password there is seen by every user of the host; write the header Authorization "
        "into a file for --header-file");
  }
  const std::string scheme = PartOf(parsed.get(), CURLUPART_SCHEME);
  const std::string host = PartOf(parsed.get(), CURLUPART_HOST);
  if (code != CURLUE_OK || (scheme != "https" && scheme != "http")) {
    return wrong("URL: after http:// or https:// it has no valid host; write https://HOST/PATH");
  }
  if (!PartOf(parsed.get(), CURLUPART_FRAGMENT).empty()) {
    return wrong("URL: the part after # is never sent; remove it");
  }
  PushTarget target;
  target.shown = ShownUrl(parsed.get());
  // curl resolves localhost to loopback by itself.
  const std::string digits(absl::StripSuffix(absl::StripPrefix(host, "["), "]"));
  if (scheme == "http" && !insecure && !IsLoopback(digits)) {
    return PlainTextError(target.shown, "https://");
  }
  target.urls = {PartOf(parsed.get(), CURLUPART_URL)};
  target.key = TargetKey(host, target.urls.front());
  return target;
}

namespace {

constexpr absl::Duration kLongestConnect = absl::Seconds(10);
constexpr absl::Duration kStopGrace = absl::Seconds(5);
// Limit of what is returned of an answer's body.
constexpr size_t kMaxSaved = 1 << 10;
// Time in which an answer's body is read: its head alone is the receiver's answer.
constexpr absl::Duration kBodyTime = absl::Seconds(1);

// One handle of libcurl, the request that is under way, and the part of its answer that is read.
struct HttpClient {
  std::unique_ptr<CURL, CurlFree> easy;
  std::stop_token stop;
  absl::Time end = absl::InfiniteFuture();  // when requests end, after a stop
  // Time at which the answer's head was whole; in the future: it is not.
  absl::Time head = absl::InfiniteFuture();
  std::string body;
  std::array<char, CURL_ERROR_SIZE> error{};
};

size_t TakeBody(char* data, size_t size, size_t count, void* user) {
  std::string& body = static_cast<HttpClient*>(user)->body;
  body.append(data, std::min(size * count, kMaxSaved - body.size()));
  return size * count;
}

// Takes a line of an answer's head. The empty one ends it, unless it is that of an interim answer.
size_t TakeHeadLine(const char* data, size_t size, size_t count, void* user) {
  auto* client = static_cast<HttpClient*>(user);
  const absl::string_view line(data, size * count);
  long status = 0;
  CURL_FUNCTION(curl_easy_getinfo)(client->easy.get(), CURLINFO_RESPONSE_CODE, &status);
  constexpr long kFirstFinalStatus = 200;
  if (status >= kFirstFinalStatus && (line == "\r\n" || line == "\n")) client->head = SteadyNow();
  return line.size();
}

// Called at least once a second. Returns whether to abort the request.
int CheckStop(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto* client = static_cast<HttpClient*>(user);
  const absl::Time now = SteadyNow();
  if (client->stop.stop_requested()) client->end = std::min(client->end, now + kStopGrace);
  return now >= std::min(client->end, client->head + kBodyTime) ? 1 : 0;
}

// Sets an option; its text is copied. `status` gets an error.
template <typename Value>
void Set(CURL* easy, CURLoption option, Value value, absl::Status* status) {
  const CURLcode code = CURL_FUNCTION(curl_easy_setopt)(easy, option, value);
  if (code == CURLE_OK) return;
  status->Update(
      absl::InternalError(absl::StrCat("libcurl refuses its option ", static_cast<int>(option),
                                       ": ", CURL_FUNCTION(curl_easy_strerror)(code))));
}

// Why there is no connection; unset: the system gave no reason. Only libcurl's own sentence tells
// whether that is the receiver's address or a proxy's, so that both are named.
std::optional<std::string> ConnectFault(CURL* easy) {
  long error = 0;
  char* url = nullptr;  // owned by the handle
  CURL_FUNCTION(curl_easy_getinfo)(easy, CURLINFO_OS_ERRNO, &error);
  CURL_FUNCTION(curl_easy_getinfo)(easy, CURLINFO_EFFECTIVE_URL, &url);
  const std::unique_ptr<CURLU, CurlFree> parsed(CURL_FUNCTION(curl_url)());
  if (error == 0 || url == nullptr ||
      CURL_FUNCTION(curl_url_set)(parsed.get(), CURLUPART_URL, url, 0) != CURLUE_OK) {
    return std::nullopt;
  }
  const bool may_use_proxy = PartOf(parsed.get(), CURLUPART_SCHEME) == "https";
  const std::string where =
      absl::StrCat(EscapeForTerminal(PartOf(parsed.get(), CURLUPART_HOST)), ":",
                   PartOf(parsed.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT),
                   may_use_proxy ? ", or at the proxy if $https_proxy names one" : "");
  if (error == ECONNREFUSED) return absl::StrCat("nobody listens at ", where);
  return absl::StrCat("no connection to ", where, ": ", ErrnoText(static_cast<int>(error)));
}

// The reason why a request got no answer: libcurl's words, and what they may mean.
std::string FaultOf(CURL* easy, CURLcode code, const char* detail) {
  if (code == CURLE_COULDNT_CONNECT) {
    if (std::optional<std::string> fault = ConnectFault(easy)) return *std::move(fault);
  }
  std::string why =
      EscapeForTerminal(*detail != '\0' ? detail : CURL_FUNCTION(curl_easy_strerror)(code));
  if (code != CURLE_SSL_CONNECT_ERROR) return why;
  return absl::StrCat("no TLS session (", why,
                      "); the receiver may require a certificate (--push-cert), or its port may be "
                      "that of http://");
}

HttpAnswer Post(HttpClient* client, const std::string& body,
                const std::vector<std::string>& headers) {
  CURL* const easy = client->easy.get();
  std::unique_ptr<curl_slist, CurlFree> lines;
  for (const std::string& header : headers) {
    curl_slist* const longer = CURL_FUNCTION(curl_slist_append)(lines.get(), header.c_str());
    if (longer == nullptr) return {.fault = "out of memory"};
    (void)lines.release();  // `longer` is the owner
    lines.reset(longer);
  }
  absl::Status set_up;
  Set(easy, CURLOPT_HTTPHEADER, lines.get(), &set_up);
  Set(easy, CURLOPT_POSTFIELDS, body.c_str(), &set_up);
  Set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()), &set_up);
  if (!set_up.ok()) return {.fault = std::string(set_up.message())};
  client->body.clear();
  client->head = absl::InfiniteFuture();
  client->error[0] = '\0';
  const CURLcode code = CURL_FUNCTION(curl_easy_perform)(easy);
  // A head that is whole counts, whatever has happened to its body.
  if (client->head == absl::InfiniteFuture()) {
    if (code == CURLE_ABORTED_BY_CALLBACK) return {.stopped = true};
    if (code == CURLE_OK) return {.fault = "its answer is cut"};
    return {.fault = FaultOf(easy, code, client->error.data())};
  }
  long status = 0;
  CURL_FUNCTION(curl_easy_getinfo)(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_off_t retry_after = 0;
  CURL_FUNCTION(curl_easy_getinfo)(easy, CURLINFO_RETRY_AFTER, &retry_after);
  char* redirection = nullptr;  // owned by the handle
  CURL_FUNCTION(curl_easy_getinfo)(easy, CURLINFO_REDIRECT_URL, &redirection);
  return {.status = static_cast<int>(status),
          .retry_after = absl::Seconds(retry_after),
          .body = client->body,
          .redirection = redirection == nullptr ? "" : ShownUrl(redirection)};
}

}  // namespace

absl::StatusOr<HttpPost> MakeHttpPost(const std::string& url, const TlsOptions& tls,
                                      absl::Duration timeout, std::stop_token stop) {
  if (!LoadCurl().ok()) return LoadCurl();
  const auto client = std::make_shared<HttpClient>();
  client->stop = std::move(stop);
  client->easy.reset(CURL_FUNCTION(curl_easy_init)());
  if (client->easy == nullptr) return absl::InternalError("libcurl cannot be initialised");
  absl::Status set_up;
  const auto set = [&](CURLoption option, auto value) {
    Set(client->easy.get(), option, value, &set_up);
  };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_POST, 1L);
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // a resolver that hangs delays no stop
  // Plain HTTP goes to loopback, or where it was allowed to go, and to no proxy.
  if (absl::StartsWith(url, "http:")) set(CURLOPT_PROXY, "");
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(timeout)));
  set(CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(absl::ToInt64Milliseconds(std::min(timeout, kLongestConnect))));
  set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!tls.ca_file.empty()) {
    set(CURLOPT_CAINFO, tls.ca_file.c_str());
    set(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // the system's authorities do not count
  }
  set(CURLOPT_CA_CACHE_TIMEOUT, 0L);     // otherwise a replaced CA is noticed a day later
  set(CURLOPT_SSL_SESSIONID_CACHE, 0L);  // a session that is resumed reads no file
  if (!tls.cert_file.empty()) {
    set(CURLOPT_SSLCERT, tls.cert_file.c_str());
    set(CURLOPT_SSLKEY, tls.key_file.c_str());
  }
  set(CURLOPT_WRITEFUNCTION, &TakeBody);
  set(CURLOPT_WRITEDATA, client.get());
  set(CURLOPT_HEADERFUNCTION, &TakeHeadLine);
  set(CURLOPT_HEADERDATA, client.get());
  set(CURLOPT_XFERINFOFUNCTION, &CheckStop);
  set(CURLOPT_XFERINFODATA, client.get());
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_ERRORBUFFER, client->error.data());
  if (!set_up.ok()) return set_up;
  return [client](const std::string& body, const std::vector<std::string>& headers) {
    return Post(client.get(), body, headers);
  };
}

std::string ReasonOf(const HttpAnswer& answer) {
  constexpr size_t kMaxOfBody = 300;
  if (answer.status == 0) return answer.fault;
  if (answer.status / 100 == 3) {
    return absl::StrCat("it answers ", answer.status, ", a redirection",
                        answer.redirection.empty() ? "" : " to ", answer.redirection,
                        ", which is not followed; name the URL that it leads to");
  }
  const std::string body = EscapeForTerminal(
      absl::StripAsciiWhitespace(absl::string_view(answer.body).substr(0, kMaxOfBody)));
  return absl::StrCat("it answers ", answer.status, body.empty() ? "" : ": ", body);
}

}  // namespace vmeventd::client
