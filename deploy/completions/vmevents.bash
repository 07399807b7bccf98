# vmevents' completion for bash: the program knows its own commands and options.
# shellcheck shell=bash
# shellcheck disable=SC1090
source <(vmevents completion bash)
