// A fake QEMU as a program of its own, for tests with threads.

#include "tests/support/fake_qemu.h"

int main() { vmeventd::RunFakeQemu(); }
