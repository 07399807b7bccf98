#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/quote.h"
#include "client/nats/connection.h"
#include "client/nats/domain.h"
#include "nlohmann/json.hpp"

// Sends requests of JetStream's API and parses the answers. Only for the files of this folder.

namespace vmeventd::client {

// Codes of the API's errors.
inline constexpr uint64_t kNoMessage = 10037;
inline constexpr uint64_t kNoStream = 10059;
inline constexpr uint64_t kTooLarge = 10054;

// Returns the member `name`. Throws if it is not an unsigned number.
inline uint64_t NumberIn(const nlohmann::json& object, const char* name) {
  return object.at(name).get_ref<const uint64_t&>();
}

// Returns the result of `parse`, which may throw, for an answer. NOT_FOUND: there is no such stream
// or message. INVALID_ARGUMENT: the stream never accepts such a message. UNAVAILABLE: another
// error, for people, or the text is not an answer of JetStream.
template <typename Parse>
auto ParseAnswer(absl::string_view text, const Parse& parse)
    -> absl::StatusOr<decltype(parse(nlohmann::json()))> {
  const nlohmann::json answer =
      nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  try {
    if (!answer.contains("error")) return parse(answer);
    const nlohmann::json& error = answer.at("error");
    const uint64_t code = NumberIn(error, "err_code");
    const std::string message = absl::StrCat(
        "JetStream answers ", Quote(error.at("description").get<std::string>()), " (", code, ")");
    if (code == kNoMessage || code == kNoStream) return absl::NotFoundError(message);
    if (code == kTooLarge) return absl::InvalidArgumentError(message);
    return absl::UnavailableError(message);
  } catch (const nlohmann::json::exception&) {
    return absl::UnavailableError(
        absl::StrCat("the server's answer ", Quote(text), " is not an answer of JetStream"));
  }
}

// Sends a request of the API about a stream, and returns the result of `parse` for the answer.
// UNAVAILABLE: the server has no JetStream; other errors: see ParseAnswer() and
// NatsConnection::Request().
template <typename Parse>
auto AskApi(NatsConnection* connection, absl::string_view request, absl::string_view stream,
            const nlohmann::json& body, const Parse& parse,
            absl::Duration timeout = NatsConnection::kRequestTimeout)
    -> absl::StatusOr<decltype(parse(nlohmann::json()))> {
  const auto answer = connection->Request(
      {.subject = ApiSubject(request, stream), .data = body.is_null() ? "" : body.dump()}, timeout);
  if (answer.ok()) return ParseAnswer(*answer, parse);
  if (!absl::IsNotFound(answer.status())) return answer.status();
  return absl::UnavailableError(
      "the server has no JetStream, or not for this account: enable it in the server's "
      "configuration (jetstream {})");
}

}  // namespace vmeventd::client
