#include "server/program.h"

int main(int argc, char** argv) { return vmeventd::RunProgram({argv + 1, argv + argc}); }
