# vmevents' completion for fish: the program knows its own commands and options.
function __vmevents_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (timeout 2 vmevents __complete $words[2..-1] 2>/dev/null)
    if test (count $lines) -eq 0
        __fish_complete_path (commandline -ct)
    else
        printf '%s\n' $lines
    end
end
complete -c vmevents -f -a '(__vmevents_complete)'
