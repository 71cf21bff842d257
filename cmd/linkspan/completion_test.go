package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script writes the completion script of a shell, or skips the test where there is no such shell.
func script(t *testing.T, shell, name string) (path string) {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		t.Skip(err)
	}
	code, out, errs := call(nil, "completion", shell)
	if code != 0 {
		t.Fatal(errs)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// answer runs a shell and returns what it printed, in words.
func answer(t *testing.T, shell string, args ...string) []string {
	t.Helper()
	cmd := exec.Command(shell, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", shell, err, out)
	}
	return strings.Fields(string(out))
}

func contains(words []string, want ...string) bool {
	have := " " + strings.Join(words, " ") + " "
	for _, w := range want {
		if !strings.Contains(have, " "+w+" ") {
			return false
		}
	}
	return true
}

func TestBashCompletes(t *testing.T) {
	path := script(t, "bash", "linkspan.bash")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "my config.yaml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// complete asks for the last of the words.
	complete := func(words ...string) []string {
		line := `cd "$1"; source "$0"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _linkspan; printf '%s\n' "${COMPREPLY[@]}"`
		return answer(t, "bash", append([]string{"-c", line, path, dir, "linkspan"}, words...)...)
	}
	for _, c := range []struct{ words, want []string }{
		{[]string{""}, []string{"run", "check", "explain", "version", "completion", "--help"}},
		{[]string{"ex"}, []string{"explain"}},
		{[]string{"run", "--"}, []string{"--config", "--profile", "--help"}},
		{[]string{"import", ""}, []string{"connector", "uns", "strimzi"}},
		{[]string{"explain", "--k"}, []string{"--key"}},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}},
		{[]string{"run", "-c", "my"}, []string{"config.yaml"}},
		{[]string{"spool", ""}, []string{"status", "ls", "cat", "export", "drop"}},
		{[]string{"spool", "drop", "--"}, []string{"--route", "--before", "--yes", "--dir"}},
		{[]string{"deadletter", "replay", "--d"}, []string{"--dry-run"}},
		{[]string{"deadletter", "ls", "-c", "my"}, []string{"config.yaml"}},
	} {
		if got := complete(c.words...); !contains(got, c.want...) {
			t.Errorf("%q completes to %q, want %q", c.words, got, c.want)
		}
	}
	if got := complete("ver"); strings.Join(got, " ") != "version" {
		t.Errorf("ver completes to %q", got)
	}
}

func TestZshCompletes(t *testing.T) {
	path := script(t, "zsh", "_linkspan")
	// The functions of the completion system say what they were asked to offer.
	line := `compdef() { :; }; _describe() { print -l $commands; }; _arguments() { print -l -- "$@"; }
source $0; words=("$@"); CURRENT=$#; _linkspan`
	for _, c := range []struct{ words, want []string }{
		{[]string{"linkspan", ""}, []string{"check:Validate", "run:Run", "explain:Show"}},
		{[]string{"linkspan", "run", ""}, []string{"--config[The"}},
		{[]string{"linkspan", "completion", ""}, []string{"2:value:(bash"}},
		{[]string{"linkspan", "spool", ""}, []string{"status:Show", "drop:Drop"}},
		{[]string{"linkspan", "spool", "drop", ""}, []string{"--route[Those", "1:command:", "2:command:"}},
	} {
		if got := answer(t, "zsh", append([]string{"-f", "-c", line, path}, c.words...)...); !contains(got, c.want...) {
			t.Errorf("%q completes to %q, want %q", c.words, got, c.want)
		}
	}
}

func TestFishCompletes(t *testing.T) {
	path := script(t, "fish", "linkspan.fish")
	for _, c := range []struct {
		line string
		want []string
	}{
		{"linkspan ", []string{"run", "check", "explain", "version", "completion"}},
		{"linkspan check --", []string{"--config", "--connect", "--timeout"}},
		{"linkspan completion ", []string{"bash", "zsh", "fish"}},
		{"linkspan spool ", []string{"status", "ls", "drop"}},
		{"linkspan deadletter ls --", []string{"--since", "--reason"}},
	} {
		if got := answer(t, "fish", "--no-config", "-c", `source $argv[1]; complete --do-complete $argv[2]`, path, c.line); !contains(got, c.want...) {
			t.Errorf("%q completes to %q, want %q", c.line, got, c.want)
		}
	}
}
