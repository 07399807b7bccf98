#include "client/sources/ignored_messages.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/output/count_text.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

std::function<void(const NatsMessage&, const absl::Status&)> IgnoredIn(std::string where,
                                                                       const PrintSentence& note) {
  return [note, where = std::move(where), count = uint64_t{0}, next = uint64_t{1}](
             const NatsMessage& message, const absl::Status& why) mutable {
    if (++count < next) return;
    next *= 10;
    note(absl::StrCat("ignoring the message ", EscapeForTerminal(message.subject), " of the ",
                      where, ": ", EscapeForTerminal(why.message()), " (",
                      CountText(count, "message"), " so far)"));
  };
}

}  // namespace vmeventd::client
