#include "client/push/verdict.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

constexpr int kBadRequest = 400;
constexpr int kRequestTimeout = 408;
constexpr int kGone = 410;
constexpr int kTooLarge = 413;
constexpr int kUnprocessable = 422;
constexpr int kTooEarly = 425;
constexpr int kTooMany = 429;
constexpr size_t kMostOfBody = 300;  // in a reason

}  // namespace

Verdict VerdictOn(const HttpAnswer& answer, int events) {
  const int status = answer.status;
  if (status / 100 == 2) return Verdict::kDelivered;
  if (status / 100 != 4) return Verdict::kRetry;
  if (status == kRequestTimeout || status == kTooEarly || status == kTooMany) {
    return Verdict::kRetry;
  }
  if (status == kGone) return Verdict::kEnd;
  const bool of_content = status == kBadRequest || status == kTooLarge || status == kUnprocessable;
  return of_content && events > 1 ? Verdict::kSplit : Verdict::kSetAside;
}

std::string ReasonOf(const HttpAnswer& answer) {
  if (answer.status == 0) return answer.fault;
  if (answer.status / 100 == 3) {
    return absl::StrCat("it answers ", answer.status,
                        ", a redirection, which is not followed; name the URL that it leads to");
  }
  const std::string body = EscapeForTerminal(
      absl::StripAsciiWhitespace(absl::string_view(answer.body).substr(0, kMostOfBody)));
  return absl::StrCat("it answers ", answer.status, body.empty() ? "" : ": ", body);
}

std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time now) {
  text = absl::StripAsciiWhitespace(text);
  if (text.empty()) return std::nullopt;
  absl::Duration pause;
  if (std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    uint32_t seconds = 0;
    // A number that is larger than that is a long time too.
    pause = absl::SimpleAtoi(text, &seconds) ? absl::Seconds(seconds) : kLongestRetryAfter;
  } else {
    const time_t date = curl_getdate(std::string(text).c_str(), nullptr);
    if (date < 0) return std::nullopt;
    pause = absl::FromTimeT(date) - now;
  }
  return std::clamp(pause, absl::ZeroDuration(), kLongestRetryAfter);
}

}  // namespace vmeventd::client
