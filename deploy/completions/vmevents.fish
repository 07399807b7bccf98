# vmevents' completion for fish: the program knows its own commands and options.
vmevents completion fish | source
