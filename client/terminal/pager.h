#ifndef VMEVENTD_CLIENT_TERMINAL_PAGER_H_
#define VMEVENTD_CLIENT_TERMINAL_PAGER_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"

namespace vmeventd::client {

// The pager's command: `own` ($VMEVENTS_PAGER) if it is set, else `common` ($PAGER), else less if
// `in_path` finds it. Empty: no pager, also if the variable is empty or "cat". Pure but for
// `in_path`.
std::string ChoosePager(const std::optional<std::string>& own,
                        const std::optional<std::string>& common,
                        const std::function<bool(const std::string&)>& in_path);

// Whether a directory of $PATH has an executable of that name.
bool IsInPath(const std::string& program);

// Size of the terminal at `descriptor`; 0: it is none, or does not say.
struct TerminalSize {
  size_t columns = 0;
  size_t rows = 0;
};
TerminalSize SizeOfTerminal(int descriptor);

// A running pager, through whose descriptor output goes to the terminal. The destructor closes the
// descriptor and waits until the user has left the pager.
class Pager {
 public:
  // Null: it could not be started. Until the pager has ended, SIGINT is ignored here.
  static std::unique_ptr<Pager> Start(const std::string& command);
  ~Pager();
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  // Closes the descriptor and waits until the user has left the pager. False: the shell could not
  // run the command, so that nothing was shown.
  bool Wait();

  int descriptor() const { return input_.get(); }

 private:
  Pager(UniqueFd input, pid_t pid);

  UniqueFd input_;
  pid_t pid_;  // 0: it was waited for
  void (*interrupt_)(int);
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_TERMINAL_PAGER_H_
