#include "client/push/http_client.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "client/output/terminal_text.h"
#include "client/push/curl_library.h"

namespace vmeventd::client {
namespace {

constexpr absl::Duration kLongestConnect = absl::Seconds(10);
constexpr absl::Duration kStopGrace = absl::Seconds(5);
constexpr size_t kMaxHeaderBytes = 64 << 10;  // limit of an answer's headers
constexpr size_t kMaxBodyBytes = 64 << 10;    // limit of what is read of a body
constexpr size_t kMaxKept = 1 << 10;          // limit of the part of a body that is read

// The part of an answer that is read.
struct Reading {
  size_t header_bytes = 0;
  size_t body_bytes = 0;
  std::string body;
  bool enough = false;  // the limit is exceeded: the rest is not read
};

size_t TakeHeader(char* /*data*/, size_t size, size_t count, void* user) {
  auto* reading = static_cast<Reading*>(user);
  reading->header_bytes += size * count;
  return reading->header_bytes > kMaxHeaderBytes ? 0 : size * count;
}

size_t TakeBody(char* data, size_t size, size_t count, void* user) {
  auto* reading = static_cast<Reading*>(user);
  const size_t bytes = size * count;
  reading->body_bytes += bytes;
  reading->body.append(data, std::min(bytes, kMaxKept - reading->body.size()));
  reading->enough = reading->body_bytes > kMaxBodyBytes;
  return reading->enough ? 0 : bytes;
}

// To libcurl a CURL and a CURLM are both void.
struct MultiFree {
  void operator()(CURLM* multi) const { Curl().curl_multi_cleanup(multi); }
};
struct EasyFree {
  void operator()(CURL* easy) const { Curl().curl_easy_cleanup(easy); }
};
using Easy = std::unique_ptr<CURL, EasyFree>;
using Multi = std::unique_ptr<CURLM, MultiFree>;
using Lines = std::unique_ptr<curl_slist, CurlFree>;

class CurlClient {
 public:
  CurlClient(HttpOptions options, std::stop_token stop, Easy easy, Multi multi)
      : options_(std::move(options)),
        stop_(std::move(stop)),
        multi_(std::move(multi)),
        easy_(std::move(easy)) {}

  absl::Status SetUp();
  HttpAnswer Post(const std::string& body, const std::vector<std::string>& headers);

 private:
  template <typename Value>
  void Set(CURLoption option, Value value) {
    const CURLcode code = Curl().curl_easy_setopt(easy_.get(), option, value);
    if (code != CURLE_OK && set_up_.ok()) {
      set_up_ =
          absl::InternalError(absl::StrCat("libcurl refuses its option ", static_cast<int>(option),
                                           ": ", Curl().curl_easy_strerror(code)));
    }
  }
  // Runs the request; nullopt: it was stopped.
  std::optional<CURLcode> Perform();
  HttpAnswer AnswerOf(CURLcode code, const Reading& reading);

  const HttpOptions options_;
  const std::stop_token stop_;
  absl::Status set_up_;
  std::array<char, CURL_ERROR_SIZE> error_{};
  const Multi multi_;
  const Easy easy_;
};

absl::Status CurlClient::SetUp() {
  Set(CURLOPT_URL, options_.url.c_str());
  Set(CURLOPT_PROTOCOLS_STR, "http,https");
  Set(CURLOPT_POST, 1L);
  Set(CURLOPT_FOLLOWLOCATION, 0L);
  Set(CURLOPT_NOSIGNAL, 1L);
  Set(CURLOPT_QUICK_EXIT, 1L);  // a resolver that hangs keeps no stop waiting
  // Plain HTTP goes to loopback, or where it was allowed to go, and to no proxy.
  if (absl::StartsWith(options_.url, "http:")) Set(CURLOPT_PROXY, "");
  Set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(options_.timeout)));
  Set(CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(absl::ToInt64Milliseconds(std::min(options_.timeout, kLongestConnect))));
  Set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  const TlsOptions& tls = options_.tls;
  if (!tls.ca_file.empty()) {
    Set(CURLOPT_CAINFO, tls.ca_file.c_str());
    Set(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // the system's do not count
  }
  Set(CURLOPT_CA_CACHE_TIMEOUT, 0L);     // or a CA that was replaced is noticed a day later
  Set(CURLOPT_SSL_SESSIONID_CACHE, 0L);  // a session that is resumed reads no file
  if (!tls.cert_file.empty()) {
    Set(CURLOPT_SSLCERT, tls.cert_file.c_str());
    Set(CURLOPT_SSLKEY, tls.key_file.c_str());
  }
  Set(CURLOPT_HEADERFUNCTION, &TakeHeader);
  Set(CURLOPT_WRITEFUNCTION, &TakeBody);
  Set(CURLOPT_ERRORBUFFER, error_.data());
  return set_up_;
}

std::optional<CURLcode> CurlClient::Perform() {
  CURLM* const multi = multi_.get();
  const std::stop_callback wake(stop_, [multi] { Curl().curl_multi_wakeup(multi); });
  absl::Time end = absl::InfiniteFuture();
  Curl().curl_multi_add_handle(multi, easy_.get());
  std::optional<CURLcode> code;
  for (int running = 1; running > 0;) {
    constexpr absl::Duration kPoll = absl::Seconds(1);
    if (Curl().curl_multi_perform(multi, &running) != CURLM_OK) code = CURLE_FAILED_INIT;
    if (running == 0 || code) break;
    if (stop_.stop_requested()) end = std::min(end, SteadyNow() + kStopGrace);
    const absl::Duration left = end - SteadyNow();
    if (left <= absl::ZeroDuration()) break;
    const int64_t wait = absl::ToInt64Milliseconds(std::min(left, kPoll)) + 1;
    Curl().curl_multi_poll(multi, nullptr, 0, static_cast<int>(wait), nullptr);
  }
  int messages = 0;
  while (const CURLMsg* message = Curl().curl_multi_info_read(multi, &messages)) {
    if (message->msg == CURLMSG_DONE) code = message->data.result;
  }
  Curl().curl_multi_remove_handle(multi, easy_.get());
  return code;
}

HttpAnswer CurlClient::AnswerOf(CURLcode code, const Reading& reading) {
  HttpAnswer answer;
  long status = 0;
  Curl().curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (code != CURLE_OK && !reading.enough) {
    answer.fault =
        EscapeForTerminal(error_[0] != '\0' ? error_.data() : Curl().curl_easy_strerror(code));
    return answer;
  }
  answer.status = static_cast<int>(status);
  answer.body = reading.body;
  curl_header* header = nullptr;
  constexpr size_t kFirst = 0;
  constexpr int kLastRequest = -1;
  if (Curl().curl_easy_header(easy_.get(), "Retry-After", kFirst, CURLH_HEADER, kLastRequest,
                              &header) == CURLHE_OK) {
    answer.retry_after = header->value;
  }
  return answer;
}

HttpAnswer CurlClient::Post(const std::string& body, const std::vector<std::string>& headers) {
  Lines lines;
  for (const std::string& header : headers) {
    curl_slist* const longer = Curl().curl_slist_append(lines.get(), header.c_str());
    if (longer == nullptr) return {.fault = "out of memory"};
    (void)lines.release();  // `longer` is the owner
    lines.reset(longer);
  }
  Reading reading;
  error_[0] = '\0';
  Set(CURLOPT_HTTPHEADER, lines.get());
  Set(CURLOPT_POSTFIELDS, body.c_str());
  Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  Set(CURLOPT_HEADERDATA, &reading);
  Set(CURLOPT_WRITEDATA, &reading);
  if (!set_up_.ok()) return {.fault = std::string(set_up_.message())};
  const std::optional<CURLcode> code = Perform();
  if (!code) return {.stopped = true};
  return AnswerOf(*code, reading);
}

}  // namespace

absl::StatusOr<HttpPost> MakeHttpPost(HttpOptions options, std::stop_token stop) {
  if (!LoadCurl().ok()) return LoadCurl();
  Easy easy(Curl().curl_easy_init());
  Multi multi(Curl().curl_multi_init());
  if (easy == nullptr || multi == nullptr) {
    return absl::InternalError("libcurl cannot be initialised");
  }
  const auto client = std::make_shared<CurlClient>(std::move(options), std::move(stop),
                                                   std::move(easy), std::move(multi));
  if (absl::Status status = client->SetUp(); !status.ok()) return status;
  return [client](const std::string& body, const std::vector<std::string>& headers) {
    return client->Post(body, headers);
  };
}

}  // namespace vmeventd::client
