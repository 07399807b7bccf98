// A fake QEMU as a separate program, for tests with threads.

#include "tests/support/fake_qemu.h"

int main() { vmeventd::RunFakeQemu(); }
