// Any row of the journal's table `blocks` with a right checksum is read, or refused: its numbers
// may contradict each other, if a program wrote them.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "server/eventlog/block_row.h"

extern "C" int Fuzz_block_row(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto* const bytes = reinterpret_cast<const char*>(data);
  vmeventd::StoredBlock::Columns columns;
  columns.first = 5;
  columns.last = columns.first + data[0] - 1;
  columns.data = absl::string_view(bytes + 1, size - 1);
  columns.checksum = vmeventd::BlockChecksum(columns);
  const auto block = vmeventd::StoredBlock::Make(columns);
  if (!block.ok()) return 0;
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
  return 0;
}
