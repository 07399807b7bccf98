#include "tests/support/test_stream.h"

#include "gtest/gtest.h"
#include "tests/support/call_deadline.h"

namespace vmeventd {

TestStream::TestStream(v1::VmEventService::Stub* stub, const v1::WatchEventsRequest& request) {
  context_.set_deadline(CallDeadline());
  reader_ = stub->WatchEvents(&context_, request);
}

TestStream::~TestStream() {
  if (finished_) return;
  context_.TryCancel();
  End();
}

v1::WatchEventsResponse TestStream::Next() {
  v1::WatchEventsResponse response;
  EXPECT_TRUE(reader_->Read(&response)) << End().error_message();
  return response;
}

std::vector<uint64_t> TestStream::NextSequences(size_t count) {
  std::vector<uint64_t> out;
  while (out.size() < count && !::testing::Test::HasFailure()) {
    const v1::WatchEventsResponse message = Next();
    for (const v1::Event& event : message.events()) out.push_back(event.sequence());
  }
  return out;
}

grpc::Status TestStream::End() {
  if (finished_) return grpc::Status::OK;
  v1::WatchEventsResponse response;
  while (reader_->Read(&response)) {
  }
  finished_ = true;
  return reader_->Finish();
}

}  // namespace vmeventd
