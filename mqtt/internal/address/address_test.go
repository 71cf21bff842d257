package address

import (
	"net"
	"net/url"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for text, want := range map[string]Address{
		"mqtt://h":               {"h", "1883", false, ""},
		"mqtt://h/":              {"h", "1883", false, ""},
		"mqtts://h":              {"h", "8883", true, ""},
		"ws://h":                 {"h", "80", false, "/mqtt"},
		"wss://h":                {"h", "443", true, "/mqtt"},
		"mqtt://:1":              {"", "1", false, ""},
		"mqtts://[::1]:65535":    {"::1", "65535", true, ""},
		"ws://h:0/":              {"h", "0", false, "/"},
		"ws://h?token=1":         {"h", "80", false, "/mqtt?token=1"},
		"wss://h:1/a%20b/c?d=%2": {"h", "1", true, "/a%20b/c?d=%2"},
		"ws://h/a?":              {"h", "80", false, "/a"},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Of(u); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestWhatIsNoAddress(t *testing.T) {
	for text, want := range map[string]string{
		"":               "none of the schemes",
		"h":              "none of the schemes",
		"localhost:1883": "none of the schemes",
		"http://h":       "none of the schemes",
		"mqtt:1883":      "no //",
		"mqtt://h:65536": "no port 65536",
		"mqtt://h]":      "no host",
		"mqtt://h/a":     "has a path",
		"mqtts://h?a":    "has a path",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Of(u); err == nil || !strings.Contains(err.Error(), want) || got != (Address{}) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// FuzzOf: what is an address can be dialled.
func FuzzOf(f *testing.F) {
	for _, text := range []string{"mqtt://h:1", "wss://[::1]:443/a?b#c", "mqtt://u:p@h", "ws:h", "ws://h/%zz"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			t.Skip()
		}
		a, err := Of(u)
		if err != nil {
			t.Skip()
		}
		host, port, err := net.SplitHostPort(a.HostPort())
		if err != nil || host != a.Host || port != a.Port {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
		if a.Path != "" && !strings.HasPrefix(a.Path, "/") {
			t.Errorf("%q: %+v", text, a)
		}
	})
}
