// Any row of the journal's table `blocks` with a right checksum is read, or refused: its numbers
// may contradict each other, if a program wrote them.

#include <cstdint>
#include <cstdlib>

#include "server/eventlog/block_row.h"

void Fuzz_block_row(absl::string_view input) {
  if (input.size() < 2) return;
  vmeventd::StoredBlock::Columns columns;
  columns.first = 5;
  columns.last = columns.first + static_cast<uint8_t>(input[0]) - 1;
  columns.data = input.substr(1);
  columns.checksum = vmeventd::BlockChecksum(columns);
  const auto block = vmeventd::StoredBlock::Make(columns);
  if (!block.ok()) return;
  uint64_t expected = columns.first;
  size_t total = 0;
  block->ForEach(block->first(), block->last(), false,
                 [&](const vmeventd::EventBlock::Entry& key, absl::string_view encoded) {
                   if (key.sequence != expected++ || key.bytes != encoded.size()) std::abort();
                   if (key.observe_time != block->TimeOf(key.sequence)) std::abort();
                   total += encoded.size();
                   return true;
                 });
  if (total != block->bytes() || expected != columns.last + 1) std::abort();
}
