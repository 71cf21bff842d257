package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completion) Help() string {
	return `The script goes to standard output. For this shell, or for good:

    source <(linkspan completion bash)
    linkspan completion bash > ~/.local/share/bash-completion/completions/linkspan
    linkspan completion zsh  > "${fpath[1]}/_linkspan"
    linkspan completion fish > ~/.config/fish/completions/linkspan.fish
`
}

func (c completion) Run(p *program, parser *kong.Kong) error {
	scripts := map[string]func(io.Writer, *kong.Application){"bash": bash, "zsh": zsh, "fish": fish}
	scripts[c.Shell](p.stdout, parser.Model)
	return nil
}

// commands returns what can follow the program's name, or that of a command that has some of its own.
func commands(n *kong.Node) []*kong.Node {
	return slices.DeleteFunc(slices.Clone(n.Children), func(n *kong.Node) bool { return n.Hidden })
}

// names returns the names of commands, parted by spaces.
func names(nodes []*kong.Node) string {
	var list []string
	for _, n := range nodes {
		list = append(list, n.Name)
	}
	return strings.Join(list, " ")
}

// flags returns the flags of a command, those of the program included.
func flags(n *kong.Node) (out []*kong.Flag) {
	for _, group := range n.AllFlags(true) {
		out = append(out, group...)
	}
	return out
}

// spellings returns how a flag can be written: --config, -c.
func spellings(f *kong.Flag) []string {
	out := []string{"--" + f.Name}
	if f.Short != 0 {
		out = append(out, "-"+string(f.Short))
	}
	return out
}

// words returns the values that a command's argument can have, where there are only so many.
func words(n *kong.Node) (out []string) {
	for _, p := range n.Positional {
		if p.Enum != "" {
			out = append(out, strings.Split(p.Enum, ",")...)
		}
	}
	return out
}

// takesFile reports whether a command has an argument that names a file.
func takesFile(n *kong.Node) bool {
	return slices.ContainsFunc(n.Positional, func(p *kong.Positional) bool { return p.Name == "file" })
}

// isFile reports whether a flag takes the name of a file or directory.
func isFile(f *kong.Flag) bool { return f.PlaceHolder == "FILE" || f.PlaceHolder == "DIR" }

func bash(w io.Writer, app *kong.Application) {
	fmt.Fprintf(w, `# bash completion of %[1]s
_%[1]s() {
	local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} candidates=
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W '%[2]s --help' -- "$current"))
		return
	fi
	case ${COMP_WORDS[1]} in
`, app.Name, names(commands(app.Node)))
	for _, c := range commands(app.Node) {
		fmt.Fprintf(w, "\t%s)\n", c.Name)
		if inner := commands(c); inner != nil {
			fmt.Fprintf(w, "\t\tcandidates='%s --help'\n\t\t((COMP_CWORD == 2)) || case ${COMP_WORDS[2]} in\n", names(inner))
			for _, sub := range inner {
				fmt.Fprintf(w, "\t\t%s)\n", sub.Name)
				bashFlags(w, sub)
			}
			fmt.Fprint(w, "\t\tesac ;;\n")
			continue
		}
		bashFlags(w, c)
	}
	fmt.Fprintf(w, `	esac
	COMPREPLY=($(compgen -W "$candidates" -- "$current"))
}
complete -F _%[1]s %[1]s
`, app.Name)
}

// bashFlags writes what can follow one command.
func bashFlags(w io.Writer, c *kong.Node) {
	candidates := words(c)
	var files, values []string
	for _, f := range flags(c) {
		candidates = append(candidates, "--"+f.Name)
		switch {
		case isFile(f):
			files = append(files, spellings(f)...)
		case !f.IsBool():
			values = append(values, spellings(f)...)
		}
	}
	if len(files)+len(values) > 0 {
		fmt.Fprint(w, "\t\tcase $before in\n")
		if len(files) > 0 {
			fmt.Fprintf(w, "\t\t%s) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n", strings.Join(files, "|"))
		}
		if len(values) > 0 {
			fmt.Fprintf(w, "\t\t%s) return ;;\n", strings.Join(values, "|"))
		}
		fmt.Fprint(w, "\t\tesac\n")
	}
	if takesFile(c) {
		fmt.Fprint(w, "\t\tcompopt -o default 2>/dev/null\n")
	}
	fmt.Fprintf(w, "\t\tcandidates='%s' ;;\n", strings.Join(candidates, " "))
}

func zsh(w io.Writer, app *kong.Application) {
	fmt.Fprintf(w, "#compdef %[1]s\n# zsh completion of %[1]s\n_%[1]s() {\n", app.Name)
	zshCommands(w, app.Node, 2)
	fmt.Fprintf(w, "}\nif [[ ${funcstack[1]} == _%[1]s ]]; then\n\t_%[1]s \"$@\"\nelse\n\tcompdef _%[1]s %[1]s\nfi\n", app.Name)
}

// zshCommands writes what the word at a place can be, and what can follow it.
func zshCommands(w io.Writer, n *kong.Node, place int) {
	fmt.Fprint(w, "\tlocal -a commands=(\n")
	for _, c := range commands(n) {
		fmt.Fprintf(w, "\t\t%s\n", quoted(c.Name+":"+c.Help))
	}
	fmt.Fprintf(w, "\t)\n\tif ((CURRENT == %[1]d)); then\n\t\t_describe command commands\n\t\treturn\n\tfi\n\tcase $words[%[1]d] in\n", place)
	for _, c := range commands(n) {
		fmt.Fprintf(w, "\t%s)\n", c.Name)
		if commands(c) != nil {
			zshCommands(w, c, place+1)
			fmt.Fprint(w, "\t;;\n")
			continue
		}
		fmt.Fprint(w, "\t_arguments")
		for i := 1; i < place; i++ {
			fmt.Fprintf(w, " '%d:command:'", i)
		}
		zshFlags(w, c, place)
	}
	fmt.Fprint(w, "\tesac\n")
}

// zshFlags writes what can follow one command, whose arguments begin at a place.
func zshFlags(w io.Writer, c *kong.Node, place int) {
	for _, f := range flags(c) {
		value := ""
		switch {
		case isFile(f):
			value = ":file:_files"
		case !f.IsBool():
			value = ":" + strings.ToLower(f.PlaceHolder) + ":"
		}
		for _, s := range spellings(f) {
			fmt.Fprintf(w, " \\\n\t\t%s", quoted(s+"["+bracketed(f.Help)+"]"+value))
		}
	}
	if v := words(c); v != nil {
		fmt.Fprintf(w, " \\\n\t\t%s", quoted(fmt.Sprintf("%d:value:(%s)", place, strings.Join(v, " "))))
	}
	if takesFile(c) {
		fmt.Fprintf(w, " \\\n\t\t%s", quoted(fmt.Sprintf("%d:file:_files", place+1)))
	}
	fmt.Fprint(w, " ;;\n")
}

func fish(w io.Writer, app *kong.Application) {
	fmt.Fprintf(w, "# fish completion of %[1]s\ncomplete -c %[1]s -f\n", app.Name)
	for _, c := range commands(app.Node) {
		fmt.Fprintf(w, "complete -c %s -n __fish_use_subcommand -a %s -d %s\n", app.Name, c.Name, quoted(c.Help))
		seen := "__fish_seen_subcommand_from " + c.Name
		inner := commands(c)
		for _, sub := range inner {
			fmt.Fprintf(w, "complete -c %s -n '%s; and not __fish_seen_subcommand_from %s' -a %s -d %s\n", app.Name, seen, names(inner), sub.Name, quoted(sub.Help))
			fishFlags(w, app.Name, seen+"; and __fish_seen_subcommand_from "+sub.Name, sub)
		}
		if inner == nil {
			fishFlags(w, app.Name, seen, c)
		}
	}
}

// fishFlags writes what can follow one command, where a condition holds.
func fishFlags(w io.Writer, program, condition string, c *kong.Node) {
	for _, f := range flags(c) {
		fmt.Fprintf(w, "complete -c %s -n '%s' -l %s", program, condition, f.Name)
		if f.Short != 0 {
			fmt.Fprintf(w, " -s %c", f.Short)
		}
		switch {
		case isFile(f):
			fmt.Fprint(w, " -r -F")
		case !f.IsBool():
			fmt.Fprint(w, " -x")
		}
		fmt.Fprintf(w, " -d %s\n", quoted(f.Help))
	}
	if v := words(c); v != nil {
		fmt.Fprintf(w, "complete -c %s -n '%s' -a %s\n", program, condition, quoted(strings.Join(v, " ")))
	}
	if takesFile(c) {
		fmt.Fprintf(w, "complete -c %s -n '%s' -F\n", program, condition)
	}
}

// quoted puts text in single quotes, as all three shells read them.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// bracketed prepares text for the [explanation] of zsh's _arguments.
func bracketed(s string) string {
	return strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(s)
}
