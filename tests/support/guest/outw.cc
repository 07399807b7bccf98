// outw PORT VALUE: one 16-bit write to an I/O port. /dev/port writes single bytes, which QEMU 7.2
// does not turn into a write to the high half of a register.

#include <sys/io.h>

#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 3 || iopl(3) != 0) return 1;
  const auto port = static_cast<unsigned short>(std::strtoul(argv[1], nullptr, 0));
  const auto value = static_cast<unsigned short>(std::strtoul(argv[2], nullptr, 0));
  outw(value, port);
  return 0;
}
