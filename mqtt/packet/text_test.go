package packet

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValidTopicName(t *testing.T) {
	for topic, rule := range map[string]string{
		"a": "", "/": "", "//": "", " ": "", "a/b": "", "$SYS/a": "", "abcdefgh": "", "abcdefghi": "", "温度/厨房": "", "\u007f": "", "\u0001": "",
		"\uFFFF":                   "", // a non-character: only advised against
		strings.Repeat("x", 65535): "",
		"":                         "MQTT-4.7.3-1",
		strings.Repeat("x", 65536): "MQTT-4.7.3-3",
		"+":                        "MQTT-3.3.2-2",
		"a#":                       "MQTT-3.3.2-2",
		"abcdefgh+":                "MQTT-3.3.2-2",
		"#bcdefghi":                "MQTT-3.3.2-2",
		"温度/#":                     "MQTT-3.3.2-2",
		"a\x00":                    "MQTT-1.5.4-2",
		"abcdefgh\x00ijklmnop":     "MQTT-1.5.4-2",
		"温\x00":                    "MQTT-1.5.4-2",
		"\xed\xa0\x80":             "MQTT-1.5.4-1",
		"abcdefghijk\xff":          "MQTT-1.5.4-1",
	} {
		wantRule(t, topic, ValidTopicName(topic), rule)
		wantRule(t, topic, ValidTopicName([]byte(topic)), rule)
	}
}

func TestValidFilter(t *testing.T) {
	for filter, rule := range map[string]string{
		"a": "", "#": "", "+": "", "/": "", "+/+": "", "/+": "", "a/#": "", "a/+/#": "", "+/a/+": "", "sport/tennis/player1/#": "", "$SYS/#": "",
		"温度/+/#": "", "$share": "", "$sharex/a": "", "$share/g/#": "", "$share/g//": "", "$share/g/$SYS/+": "",
		strings.Repeat("/", 65535):     "",
		"":                             "MQTT-4.7.3-1",
		strings.Repeat("/", 65536):     "MQTT-4.7.3-3",
		"a\x00":                        "MQTT-1.5.4-2",
		"a/\xc3":                       "MQTT-1.5.4-1",
		"sport/tennis#":                "MQTT-4.7.1-1",
		"sport/tennis/#/ranking":       "MQTT-4.7.1-1",
		"#/":                           "MQTT-4.7.1-1",
		"##":                           "MQTT-4.7.1-1",
		"+#":                           "MQTT-4.7.1-2",
		"sport+":                       "MQTT-4.7.1-2",
		"+a":                           "MQTT-4.7.1-2",
		"a/b+/c":                       "MQTT-4.7.1-2",
		"++":                           "MQTT-4.7.1-2",
		"$share/":                      "MQTT-4.8.2-1",
		"$share//a":                    "MQTT-4.8.2-1",
		"$share/g":                     "MQTT-4.8.2-2",
		"$share/g/":                    "MQTT-4.8.2-2",
		"$share/+/a":                   "MQTT-4.8.2-2",
		"$share/g#/a":                  "MQTT-4.8.2-2",
		"$share/g/a#":                  "MQTT-4.7.1-1",
		"a/#" + strings.Repeat("/", 8): "MQTT-4.7.1-1",
	} {
		wantRule(t, filter, ValidFilter(filter), rule)
		wantRule(t, filter, ValidFilter([]byte(filter)), rule)
	}
}

func TestValidText(t *testing.T) {
	for text, rule := range map[string]string{
		"": "", "+#": "", "ascii of some length": "", "ü": "",
		strings.Repeat("x", 65536): "MQTT5 1.5.4",
		"\x00":                     "MQTT-1.5.4-2",
		"\xff":                     "MQTT-1.5.4-1",
	} {
		wantRule(t, text, ValidText(text), rule)
		wantRule(t, text, ValidText([]byte(text)), rule)
	}
}

func wantRule(t *testing.T, s string, err error, rule string) {
	t.Helper()
	var e *Error
	switch {
	case err == nil && rule == "":
	case err == nil || !errors.As(err, &e) || e.Rule != rule:
		t.Errorf("%.40q: %v, want %q", s, err, rule)
	}
}

// TestEightAtOnce puts each character at each place of strings of each length around eight, and compares with looking at
// one after the other.
func TestEightAtOnce(t *testing.T) {
	for length := 1; length <= 25; length++ {
		for at := range length {
			for c := range 256 {
				s := []byte(strings.Repeat("a", length))
				s[at] = byte(c)
				if got, want := plainText(s), c > 0 && c < utf8.RuneSelf; got != want {
					t.Fatalf("plainText(%q) is %v", s, got)
				}
				if got, want := plainTopicName(s), c > 0 && c < utf8.RuneSelf && c != '+' && c != '#'; got != want {
					t.Fatalf("plainTopicName(%q) is %v", s, got)
				}
			}
		}
	}
}
