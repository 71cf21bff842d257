package migrate

import (
	"regexp"
	"strings"
)

var dotEnvKey = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*[=:](.*)$`)
var dotEnvVariable = regexp.MustCompile(`\\?\$\{?[A-Z0-9_]*\}?`)
var dotEnvEscape = regexp.MustCompile(`\\([^$])`)

// DotEnv reads a .env file as connector does: a line NAME=VALUE for each variable, # begins a comment outside of quotes, and
// $NAME is an earlier variable of the file, except in single quotes. The variables have the form of os.Environ.
func DotEnv(f File) ([]string, error) {
	var p problems
	var environ []string
	values := map[string]string{}
	number := 0
	for line := range strings.Lines(string(f.Text)) {
		number++
		line = strings.TrimSpace(withoutComment(line))
		if line == "" {
			continue
		}
		m := dotEnvKey.FindStringSubmatch(line)
		if m == nil {
			p.add("%s:%d: not NAME=VALUE", f.Name, number) // the line may hold a secret
			continue
		}
		values[m[1]] = dotEnvValue(strings.TrimSpace(m[2]), values)
		environ = append(environ, m[1]+"="+values[m[1]])
	}
	return environ, p.err()
}

// withoutComment cuts a line at the first # that is not in quotes.
func withoutComment(line string) string {
	var open rune
	escaped := false
	for i, c := range line {
		switch {
		case escaped:
			escaped = false
		case open == '"' && c == '\\':
			escaped = true
		case open == 0 && c == '#':
			return line[:i]
		case open == 0 && (c == '"' || c == '\''):
			open = c
		case c == open:
			open = 0
		}
	}
	return line
}

func dotEnvValue(text string, values map[string]string) string {
	if inner, ok := unquoted(text, '\''); ok {
		return inner
	}
	if inner, ok := unquoted(text, '"'); ok {
		text = dotEnvEscape.ReplaceAllString(strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(inner), "$1")
	}
	return dotEnvVariable.ReplaceAllStringFunc(text, func(s string) string {
		name := strings.Trim(s, `\${}`)
		if escaped, ok := strings.CutPrefix(s, `\`); ok {
			return escaped
		}
		if name == "" {
			return s
		}
		return values[name]
	})
}

func unquoted(text string, quote byte) (string, bool) {
	if len(text) < 2 || text[0] != quote || text[len(text)-1] != quote {
		return text, false
	}
	return text[1 : len(text)-1], true
}
