// A forged token is refused; a token made here yields its position for its question.

#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "server/rpc/page_token.h"

void Fuzz_page_token(absl::string_view input) {
  const vmeventd::PageTokens tokens("a key of the journal", "this journal");
  const vmeventd::PageTokens others("a key of another one", "this journal");
  if (tokens.Read("question", input).ok()) std::abort();
  const absl::string_view question = input.substr(0, input.size() / 2);
  const absl::string_view position = input.substr(input.size() / 2);
  const std::string token = tokens.Make(question, position);
  const auto read = tokens.Read(question, token);
  if (!read.ok() || *read != position) std::abort();
  if (others.Read(question, token).ok()) std::abort();
  if (tokens.Read(std::string(question) + "x", token).ok()) std::abort();
}
