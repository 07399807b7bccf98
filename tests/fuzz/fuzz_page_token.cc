// What is no token is refused; a token yields its position for its question and journal alone.

#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "server/rpc/page_token.h"

void Fuzz_page_token(absl::string_view input) {
  using vmeventd::ReadPageToken;
  if (ReadPageToken("journal", "question", input).ok()) std::abort();
  const absl::string_view question = input.substr(0, input.size() / 2);
  const absl::string_view position = input.substr(input.size() / 2);
  const std::string token = vmeventd::MakePageToken("journal", question, position);
  const auto read = ReadPageToken("journal", question, token);
  if (!read.ok() || *read != position) std::abort();
  if (ReadPageToken("another", question, token).ok()) std::abort();
  if (ReadPageToken("journal", std::string(question) + "x", token).ok()) std::abort();
}
