package address

import (
	"net"
	"net/url"
	"strings"
	"testing"
)

// families returns the schemes of both protocols, by the beginning of a scheme.
func families(text string) Family {
	if strings.HasPrefix(text, "amqp") {
		return AMQP()
	}
	return MQTT()
}

func TestOf(t *testing.T) {
	for text, want := range map[string]Address{
		"mqtt://h":               {"h", "1883", false, false, ""},
		"mqtt://h/":              {"h", "1883", false, false, ""},
		"mqtts://h":              {"h", "8883", true, false, ""},
		"ws://h":                 {"h", "80", false, true, "/mqtt"},
		"wss://h":                {"h", "443", true, true, "/mqtt"},
		"mqtt://:1":              {"", "1", false, false, ""},
		"mqtts://[::1]:65535":    {"::1", "65535", true, false, ""},
		"ws://h:0/":              {"h", "0", false, true, "/"},
		"ws://h?token=1":         {"h", "80", false, true, "/mqtt?token=1"},
		"wss://h:1/a%20b/c?d=%2": {"h", "1", true, true, "/a%20b/c?d=%2"},
		"ws://h/a?":              {"h", "80", false, true, "/a"},
		"amqp://h":               {"h", "5672", false, false, ""},
		"amqps://:0/":            {"", "0", true, false, ""},
		"amqpws://h":             {"h", "80", false, true, ""},
		"amqpws://h?a=b":         {"h", "80", false, true, "/?a=b"},
		"amqpwss://h/$bus/x":     {"h", "443", true, true, "/$bus/x"},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := families(text).Of(u); err != nil || got != want {
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
		"mqtts://h?a":    "has a path, which only ws and wss use",
		"amqp+ws://h":    "none of the schemes amqp, amqps, amqpws, amqpwss",
		"amqps://h/a":    "has a path, which only amqpws and amqpwss use",
		"amqp:5672":      "no //",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := families(text).Of(u); err == nil || !strings.Contains(err.Error(), want) || got != (Address{}) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// FuzzOf: what is an address can be dialled.
func FuzzOf(f *testing.F) {
	for _, text := range []string{"mqtt://h:1", "wss://[::1]:443/a?b#c", "amqpws://h?a", "mqtt://u:p@h", "ws:h", "ws://h/%zz"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			t.Skip()
		}
		a, err := families(text).Of(u)
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
