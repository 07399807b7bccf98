#include "watcher/signals/trace_records.h"

#include <linux/bpf.h>

#include <array>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

// Linux 6.18.
constexpr char kSignalFormat[] = R"(name: signal_generate
ID: 261
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int sig;	offset:8;	size:4;	signed:1;
	field:int errno;	offset:12;	size:4;	signed:1;
	field:int code;	offset:16;	size:4;	signed:1;
	field:char comm[16];	offset:20;	size:16;	signed:0;
	field:pid_t pid;	offset:36;	size:4;	signed:1;
	field:int group;	offset:40;	size:4;	signed:1;
	field:int result;	offset:44;	size:4;	signed:1;

print fmt: "sig=%d errno=%d code=%d comm=%s pid=%d grp=%d res=%d", REC->sig
)";
constexpr char kVictimFormat[] = R"(name: mark_victim
ID: 609
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int pid;	offset:8;	size:4;	signed:1;
	field:__data_loc char[] comm;	offset:12;	size:4;	signed:0;
	field:unsigned long total_vm;	offset:16;	size:8;	signed:0;
	field:unsigned long anon_rss;	offset:24;	size:8;	signed:0;
	field:short oom_score_adj;	offset:64;	size:2;	signed:1;
)";
// Linux 6.1.
constexpr char kOldVictimFormat[] = R"(name: mark_victim
ID: 555
format:
	field:int pid;	offset:8;	size:4;	signed:1;
)";

constexpr char kDeliveryFormat[] = R"(name: signal_deliver
ID: 260
format:
	field:int sig;	offset:8;	size:4;	signed:1;
)";

TraceRecord Signal(int signal, int code, int target, uint32_t process = 812) {
  TraceRecord record{.kind = TraceRecord::kSignal,
                     .time_ns = 7,
                     .process_and_thread = uint64_t{process} << 32 | (process + 1),
                     .gid_and_uid = uint64_t{50} << 32 | 107,
                     .cgroup = 4000,
                     .values = {signal, code, target, 0}};
  std::memcpy(record.comm.data(), "virtqemud", 9);
  return record;
}

TraceRecord Delivery(uint32_t process, uint32_t thread) {
  return {.kind = TraceRecord::kDelivery,
          .process_and_thread = uint64_t{process} << 32 | thread,
          .gid_and_uid = 64055,
          .cgroup = 5000,
          .values = {SIGKILL, TraceRecord::kNoValue, TraceRecord::kNoValue, TraceRecord::kNoValue}};
}

absl::string_view BytesOf(const TraceRecord& record) {
  return {reinterpret_cast<const char*>(&record), sizeof(record)};
}

std::vector<SignalRecord> Decode(const TraceRecord& record) {
  std::vector<SignalRecord> records;
  SignalledThreads reached;
  DecodeRecord(BytesOf(record), &records, &reached);
  return records;
}

TEST(TraceRecordsTest, ASignalHasItsSenderAndItsTarget) {
  const std::vector<SignalRecord> records = Decode(Signal(SIGKILL, SI_USER, 4711));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].kind, SignalRecord::Kind::kSignal);
  EXPECT_EQ(records[0].sender, 812);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_EQ(records[0].signal, SIGKILL);
  EXPECT_FALSE(records[0].by_kernel);
  EXPECT_EQ(records[0].time, absl::Nanoseconds(7));
  ASSERT_TRUE(records[0].sender_mark.has_value());
  EXPECT_EQ(records[0].sender_mark->uid, 107U);
  EXPECT_EQ(records[0].sender_mark->cgroup, 4000U);
  EXPECT_EQ(records[0].sender_comm, "virtqemud");
  EXPECT_FALSE(records[0].target_mark.has_value());
}

TEST(TraceRecordsTest, ACommMayFillItsPlace) {
  TraceRecord record = Signal(SIGKILL, SI_USER, 4711);
  record.comm.fill('x');
  EXPECT_EQ(Decode(record).at(0).sender_comm, std::string(16, 'x'));
}

TEST(TraceRecordsTest, TheKernelIsKnownByTheCodeOrByHavingNoProcess) {
  const struct {
    uint32_t pid;
    int code;
    bool by_kernel;
    bool unclear;
  } kCases[] = {{812, SI_KERNEL, true, false},
                {812, POLL_HUP, true, false},
                {0, SI_USER, true, false},
                {0, SI_TIMER, true, false},
                {812, SI_USER, false, false},
                {812, SI_QUEUE, false, false},
                {812, SI_TKILL, false, false},
                // In an interrupt, or by rt_sigqueueinfo(2).
                {812, SI_TIMER, false, true},
                {812, SI_MESGQ, false, true},
                {812, SI_ASYNCIO, false, true},
                {812, SI_SIGIO, false, true},
                {812, SI_DETHREAD, false, true},
                {812, -1000, false, true}};
  for (const auto& expected : kCases) {
    const std::vector<SignalRecord> records =
        Decode(Signal(SIGKILL, expected.code, 1, expected.pid));
    ASSERT_EQ(records.size(), 1U);
    EXPECT_EQ(records[0].by_kernel, expected.by_kernel) << expected.pid << " " << expected.code;
    EXPECT_EQ(records[0].unclear, expected.unclear) << expected.pid << " " << expected.code;
    EXPECT_EQ(records[0].sender, expected.by_kernel ? 0 : 812);
  }
}

TEST(TraceRecordsTest, AVictimHasItsNumbers) {
  TraceRecord victim{.kind = TraceRecord::kVictim, .values = {4711, 5242880, 4194304, -200}};
  std::vector<SignalRecord> records = Decode(victim);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].kind, SignalRecord::Kind::kOomVictim);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_EQ(records[0].victim.total_vm, 5242880);
  EXPECT_EQ(records[0].victim.anon_rss, 4194304);
  EXPECT_EQ(records[0].victim.oom_score_adj, -200);
  // As of an older kernel.
  victim.values = {4711, TraceRecord::kNoValue, TraceRecord::kNoValue, TraceRecord::kNoValue};
  records = Decode(victim);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_FALSE(records[0].victim.total_vm.has_value());
}

TEST(TraceRecordsTest, WhatIsNoRecordIsLeftOut) {
  TraceRecord unknown = Signal(SIGKILL, SI_USER, 4711);
  unknown.kind = 9;
  EXPECT_TRUE(Decode(unknown).empty());
  const TraceRecord whole = Signal(SIGKILL, SI_USER, 4711);
  std::vector<SignalRecord> records;
  SignalledThreads reached;
  for (size_t size = 0; size < sizeof(whole); ++size) {
    DecodeRecord(std::string(BytesOf(whole).substr(0, size)), &records, &reached);
  }
  DecodeRecord(std::string(BytesOf(whole)) + '\0', &records, &reached);
  EXPECT_TRUE(records.empty() && reached.empty());
}

TEST(TraceRecordsTest, AFormatWithoutAFieldIsRefusedByItsName) {
  EXPECT_EQ(ParseSignalFormat(kSignalFormat)->id, 261U);
  EXPECT_EQ(ParseSignalFormat(kSignalFormat)->values[2]->offset, 36);
  EXPECT_EQ(ParseVictimFormat(kVictimFormat)->values[3]->size, 2);
  EXPECT_TRUE(ParseVictimFormat(kVictimFormat)->values[3]->is_signed);
  EXPECT_FALSE(ParseVictimFormat(kOldVictimFormat)->values[1].has_value());
  EXPECT_EQ(ParseDeliveryFormat(kDeliveryFormat)->id, 260U);
  EXPECT_THAT(ParseSignalFormat("").status().message(), HasSubstr("no ID"));
  EXPECT_THAT(ParseSignalFormat("ID: 3\n").status().message(), HasSubstr("field sig"));
  for (const char* place : {"offset:8;\tsize:1", "offset:4;\tsize:4", "offset:10;\tsize:4",
                            "offset:4096;\tsize:4", "offset:99999999999999999999;\tsize:4"}) {
    const std::string format = absl::StrCat("ID: 3\n\tfield:char pid;\t", place, ";\tsigned:1;\n");
    EXPECT_THAT(ParseVictimFormat(format).status().message(), HasSubstr("field pid")) << place;
  }
  EXPECT_FALSE(ParseSignalFormat("ID: 99999999999\n").ok());
}

TEST(TraceRecordsTest, AThreadThatASignalReachesHasItsProcess) {
  std::vector<SignalRecord> records;
  SignalledThreads reached;
  DecodeRecord(BytesOf(Delivery(4711, 4712)), &records, &reached);
  EXPECT_TRUE(records.empty());
  for (const int64_t number : {4711, 4712}) {
    ASSERT_TRUE(reached.contains(number));
    EXPECT_EQ(reached[number].process, 4711);
    EXPECT_EQ(reached[number].mark.uid, 64055U);
    EXPECT_EQ(reached[number].mark.cgroup, 5000U);
  }
  // Its number is another process's later.
  DecodeRecord(BytesOf(Delivery(4712, 4712)), &records, &reached);
  EXPECT_EQ(reached[4712].process, 4711);
}

SignalledThreads Reached(std::vector<int64_t> threads) {
  SignalledThreads reached;
  for (const int64_t thread : threads) reached[thread] = {4711, {.uid = 107}};
  return reached;
}

TEST(TraceRecordsTest, AKillOfAThreadIsOneOfItsProcess) {
  const SignalRecord kill{.target = 4712, .signal = SIGKILL, .sender = 812};
  std::vector<SignalRecord> waiting;
  // In one turn.
  std::vector<SignalRecord> records = {kill};
  ResolveThreads(Reached({4712}), 0, &records, &waiting);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].target, 4711);
  EXPECT_EQ(records[0].target_mark->uid, 107U);
  EXPECT_TRUE(waiting.empty());
  // In a later one, among others.
  records = {kill};
  ResolveThreads({}, 0, &records, &waiting);
  EXPECT_EQ(records[0].target, 4712);
  records = {{.target = 9, .signal = SIGTERM}};
  ResolveThreads(Reached({4713, 4712}), 0, &records, &waiting);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[1].target, 4711);
  EXPECT_EQ(records[1].sender, 812);
  EXPECT_TRUE(waiting.empty());
}

TEST(TraceRecordsTest, AKillOfAProcessIsHandedOutOnce) {
  std::vector<SignalRecord> waiting;
  std::vector<SignalRecord> records = {{.target = 4711, .signal = SIGKILL}};
  ResolveThreads({}, 0, &records, &waiting);
  ASSERT_EQ(waiting.size(), 1U);
  ResolveThreads(Reached({4711, 4712}), records.size(), &records, &waiting);
  EXPECT_EQ(records.size(), 1U);
  EXPECT_TRUE(waiting.empty());
}

TEST(TraceRecordsTest, KillsOfOthersWaitWithinABound) {
  std::vector<SignalRecord> waiting;
  for (int64_t target = 1; target <= 1000; ++target) {
    std::vector<SignalRecord> records = {{.target = target, .signal = SIGKILL}};
    ResolveThreads({}, 0, &records, &waiting);
  }
  ASSERT_EQ(waiting.size(), kMaxWaitingKills);
  EXPECT_EQ(waiting.back().target, 1000);
}

// A ring as the kernel writes it, of 128 bytes.
class RingReaderTest : public testing::Test {
 protected:
  static constexpr size_t kSize = 128;

  // Writes a record of one byte, or a whole word of them.
  void Write(char content, uint32_t bits = 0, size_t length = 1) {
    const uint32_t word = static_cast<uint32_t>(length) | bits;
    for (size_t at = 0; at < length; ++at) Put(produced_ + BPF_RINGBUF_HDR_SZ + at, content);
    for (size_t at = 0; at < sizeof(word); ++at) {
      Put(produced_ + at, reinterpret_cast<const char*>(&word)[at]);
    }
    produced_ += BPF_RINGBUF_HDR_SZ + (length + 7) / 8 * 8;
  }
  void Complete(uint64_t position) {
    Put(position + 3, static_cast<char>(memory_[position % kSize + 3] & 0x7f));
  }
  std::string Read() {
    std::string out;
    consumed_ = reader_.Read(produced_, [&](absl::string_view record) {
      absl::StrAppend(&out, record.empty() ? "" : record.substr(0, 1));
    });
    return out;
  }

  uint64_t produced_ = 0;
  uint64_t consumed_ = 0;
  alignas(8) std::array<char, 2 * kSize> memory_{};
  RingReader reader_{{memory_.data(), memory_.size()}, 0};

 private:
  void Put(uint64_t position, char byte) {
    memory_[position % kSize] = memory_[position % kSize + kSize] = byte;
  }
};

TEST_F(RingReaderTest, EachRecordIsReadOnceAndInItsOrder) {
  std::string all;
  for (char c = 'a'; c <= 'z'; ++c) {
    Write(c, 0, static_cast<size_t>(c - 'a') + 1);
    if (c == 'c') continue;
    all += Read();
    EXPECT_EQ(consumed_, produced_);
  }
  EXPECT_EQ(all, "abcdefghijklmnopqrstuvwxyz");
  EXPECT_EQ(Read(), "");
}

TEST_F(RingReaderTest, ARecordThatIsNotCompleteKeepsNoneBehindIt) {
  Write('a');
  Write('b', BPF_RINGBUF_BUSY_BIT);
  Write('c');
  Write('d', BPF_RINGBUF_BUSY_BIT);
  Write('e');
  EXPECT_EQ(Read(), "ace");
  EXPECT_EQ(consumed_, 16U) << "the kernel must not write over it";
  Complete(48);
  EXPECT_EQ(Read(), "d");
  EXPECT_EQ(consumed_, 16U);
  Write('f');
  Complete(16);
  EXPECT_EQ(Read(), "bf");
  EXPECT_EQ(consumed_, produced_);
}

TEST_F(RingReaderTest, WhatWasDiscardedIsPassedOver) {
  Write('a', BPF_RINGBUF_DISCARD_BIT);
  Write('b');
  EXPECT_EQ(Read(), "b");
  EXPECT_EQ(consumed_, produced_);
}

TEST_F(RingReaderTest, ARingThatNoKernelHasWrittenEndsAtWhatIsWrong) {
  Write('a');
  const uint64_t good = produced_;
  for (const uint32_t length : {uint32_t{17}, uint32_t{1000}, uint32_t{0x3fffffff}}) {
    produced_ = good;
    Write('b', length, 0);
    produced_ = good + 24;
    RingReader reader({memory_.data(), memory_.size()}, 0);
    int records = 0;
    EXPECT_EQ(reader.Read(produced_, [&](absl::string_view) { ++records; }), good) << length;
    EXPECT_EQ(records, 1);
  }
  // Positions that make no sense.
  memory_.fill(0);
  const auto fail = [](absl::string_view) { FAIL(); };
  for (const uint64_t position : {uint64_t{5}, uint64_t{8}}) {
    RingReader reader({memory_.data(), memory_.size()}, position);
    for (const uint64_t produced : {uint64_t{0}, position + 1, position + kSize + 8}) {
      EXPECT_EQ(reader.Read(produced, fail), position) << produced;
    }
  }
}

}  // namespace
}  // namespace vmeventd
