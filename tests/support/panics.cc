// A guest that panics with any information: a QEMU that preloads this reads lines from the FIFO
// $PANICS, and reports each as its guest's panic by the function that its devices call. Numbers are
// decimal or 0x...:
//
//   hyper-v ARG1 ARG2 ARG3 ARG4 ARG5
//   s390 CORE PSW_MASK PSW_ADDR REASON      REASON: its place in S390CrashReason
//   tdx ERROR_CODE GPA MESSAGE              GPA: 0 for none; from QEMU 10.1 on
//
// The types are those that QEMU generates from qapi/run-state.json.

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace {

struct HyperV {
  uint64_t args[5];
};
struct S390 {
  uint32_t core;
  uint64_t psw_mask;
  uint64_t psw_addr;
  int reason;
};
struct Tdx {
  uint32_t error_code;
  char* message;
  bool has_gpa;
  uint64_t gpa;
};
struct Information {
  int type;
  union {
    HyperV hyper_v;
    S390 s390;
    Tdx tdx;
  };
};
enum Type { kHyperV, kS390, kTdx };

uint64_t Number(std::istringstream& words) {
  std::string word;
  words >> word;
  return std::strtoull(word.c_str(), nullptr, 0);
}

// Allocates with calloc(3): QEMU frees it with free(3).
Information* Parse(const std::string& line) {
  std::istringstream words(line);
  std::string type;
  words >> type;
  auto* const out = static_cast<Information*>(std::calloc(1, sizeof(Information)));
  if (type == "hyper-v") {
    out->type = kHyperV;
    for (uint64_t& argument : out->hyper_v.args) argument = Number(words);
  } else if (type == "s390") {
    out->type = kS390;
    out->s390.core = static_cast<uint32_t>(Number(words));
    out->s390.psw_mask = Number(words);
    out->s390.psw_addr = Number(words);
    out->s390.reason = static_cast<int>(Number(words));
  } else if (type == "tdx") {
    out->type = kTdx;
    out->tdx.error_code = static_cast<uint32_t>(Number(words));
    out->tdx.gpa = Number(words);
    out->tdx.has_gpa = out->tdx.gpa != 0;
    words.get();
    std::string message;
    std::getline(words, message);
    out->tdx.message = strdup(message.c_str());
  } else {
    std::abort();
  }
  return out;
}

template <typename Function>
Function* OfQemu(const char* name) {
  void* const found = dlsym(RTLD_DEFAULT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

void Panic(void* information) { OfQemu<void(void*)>("qemu_system_guest_panicked")(information); }

// Runs `what` on the thread of QEMU's main loop, which holds its lock.
void OnMainLoop(void (*what)(void*), void* argument) {
  void* const loop = OfQemu<void*()>("qemu_get_aio_context")();
  OfQemu<void(void*, void (*)(void*), void*, const char*)>("aio_bh_schedule_oneshot_full")(
      loop, what, argument, "panic");
}

[[gnu::constructor]] void Start() {
  const char* const fifo = std::getenv("PANICS");
  if (fifo == nullptr) return;
  std::thread([path = std::string(fifo)] {
    std::ifstream lines(path);  // waits for the writer
    for (std::string line; std::getline(lines, line);) OnMainLoop(Panic, Parse(line));
  }).detach();
}

}  // namespace
