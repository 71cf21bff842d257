package route

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxKafkaName is the length of the longest name that Kafka takes for a topic, in bytes.
const maxKafkaName = 249

// digestLen is how many hexadecimal digits of a digest tell apart what a lossy rule would make the same.
const digestLen = 12

// A naming is the rule by which MQTT text becomes part of a Kafka topic name, and back. Kafka takes letters, digits, dot,
// underscore and dash, and counts dot and underscore as one when it creates a topic.
type naming byte

const (
	// byDot writes / as a dot. What a dot cannot stand for without doubt is told apart by a digest of the original.
	byDot naming = iota
	// byUnderscore does the same with an underscore.
	byUnderscore
	// byEscape writes / as a dot and everything else that is no letter or digit behind a dash: it can be turned back.
	byEscape
	// byPlain writes / as a dot and leaves the rest as it is: a/b and a.b are one topic. What Kafka does not take is refused.
	byPlain
)

func newNaming(s string) (naming, error) {
	known := []string{"dot", "underscore", "escape", "plain"} // in the order of the constants
	for i, k := range known {
		if s == k || s == "" {
			return naming(i), nil
		}
	}
	return 0, fmt.Errorf("there is no rule %q%s (dot, underscore, escape or plain)", s, meant(s, known))
}

// append writes one value at the end of a name.
func (n naming) append(dst []byte, value string) []byte {
	switch n {
	case byEscape:
		return appendEscaped(dst, value)
	case byUnderscore:
		return appendLossy(dst, value, '_')
	case byPlain:
		from := len(dst)
		dst = append(dst, value...)
		for i := range dst[from:] {
			if dst[from+i] == '/' {
				dst[from+i] = '.'
			}
		}
		return dst
	default:
		return appendLossy(dst, value, '.')
	}
}

// appendLossy writes value with sep for /. A value that holds sep itself or a character that Kafka does not take gets _ in
// its place, and -- with a digest of the value at the end. A value with a -- of its own gets one too, so no plain
// value can look like a marked one.
func appendLossy(dst []byte, value string, sep byte) []byte {
	exact := !strings.Contains(value, "--")
	for _, r := range value {
		switch {
		case r == '/':
			dst = append(dst, sep)
		case r == rune(sep) || !isKafka(r):
			dst = append(dst, '_')
			exact = false
		default:
			dst = append(dst, byte(r))
		}
	}
	if exact {
		return dst
	}
	return appendDigest(dst, value)
}

func appendDigest(dst []byte, of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return hex.AppendEncode(append(dst, "--"...), sum[:digestLen/2])
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

func isKafka(r rune) bool { return isAlphanumeric(r) || r == '.' || r == '_' || r == '-' }

// appendEscaped writes value so that [unescape] gives it back, and so that names differ even where Kafka takes dot and
// underscore for one. The topics "/" and "//" would become "." and "..", which Kafka does not take.
func appendEscaped(dst []byte, value string) []byte {
	if value == "/" || value == "//" {
		return append(dst, "-2f-2f"[:3*len(value)]...)
	}
	const digits = "0123456789abcdef"
	for i := range len(value) {
		switch c := value[i]; {
		case isAlphanumeric(rune(c)):
			dst = append(dst, c)
		case c == '/':
			dst = append(dst, '.')
		case c == '-' || c == '_':
			dst = append(dst, '-', c)
		default:
			dst = append(dst, '-', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// unescape turns back what [appendEscaped] wrote. It returns false for what that never writes.
func unescape(name string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case isAlphanumeric(rune(c)):
			b.WriteByte(c)
		case c == '.':
			b.WriteByte('/')
		case c == '-' && i+1 < len(name) && (name[i+1] == '-' || name[i+1] == '_'):
			b.WriteByte(name[i+1])
			i++
		case c == '-' && i+2 < len(name) && name[i+1:i+3] == strings.ToLower(name[i+1:i+3]):
			raw, err := hex.DecodeString(name[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b.WriteByte(raw[0])
			i += 2
		default:
			return "", false
		}
	}
	return b.String(), true
}

// decode turns a captured part of a Kafka topic name into MQTT text: exactly for the escape, and for the others by
// reading the separator as / where the capture may hold several parts.
func (n naming) decode(c capture, value string) (string, bool) {
	switch {
	case n == byEscape:
		return unescape(value)
	case !c.rest:
		return value, true
	case n == byUnderscore:
		return strings.ReplaceAll(value, "_", "/"), true
	default:
		return strings.ReplaceAll(value, ".", "/"), true
	}
}

// finish makes the name that begins at dst[from:] one that Kafka takes, false where it cannot, and for a name that no device may
// give to a topic. The lossy rules cut a name that is too long and mark it with its digest; the escape would not be reversible
// then, and refuses.
func (n naming) finish(dst []byte, from int) ([]byte, bool) {
	name := dst[from:]
	switch {
	case len(name) == 0 || internal(borrow(name)):
		return dst, false
	case n == byPlain && bytes.ContainsFunc(name, func(r rune) bool { return !isKafka(r) }):
		return dst, false
	case len(name) <= maxKafkaName && string(name) != "." && string(name) != "..":
		return dst, true
	case n == byEscape || n == byPlain:
		return dst, false
	}
	whole := string(name)
	return appendDigest(dst[:from+min(len(whole), maxKafkaName-digestLen-2)], whole), true
}

// checkKafkaName says what is wrong with a literal Kafka topic name.
func checkKafkaName(name string) error {
	for _, r := range name {
		if !isKafka(r) {
			return fmt.Errorf("%q cannot be part of a Kafka topic: letters, digits, . _ and - only", r)
		}
	}
	switch {
	case name == "":
		return fmt.Errorf("the Kafka topic is missing: write kafka:NAME")
	case name == "." || name == "..":
		return fmt.Errorf("a Kafka topic cannot be named %q", name)
	case len(name) > maxKafkaName:
		return fmt.Errorf("the Kafka topic name has %d bytes, Kafka takes %d", len(name), maxKafkaName)
	}
	return nil
}
