package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server on a free port until the test ends, and returns its base URL.
func start(t *testing.T, cfg Config, health func() Health) string {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "linkspan_test_things", Help: "Things."}, func() float64 { return 42 }))
	s, err := Listen(cfg, registry, health, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + s.Addr()
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAnswers(t *testing.T) {
	url := start(t, Config{}, func() Health { return Health{} })
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/metrics":      {200, "linkspan_test_things 42"},
		"/healthz":      {200, "ok\n"},
		"/readyz":       {200, "ok\n"},
		"/":             {200, "/metrics"},
		"/nothing":      {404, ""},
		"/debug/pprof/": {404, ""},
	} {
		status, body := get(t, url+path)
		if status != want.status || !strings.Contains(body, want.body) {
			t.Errorf("%s: %d %q, want %d and %q", path, status, body, want.status, want.body)
		}
	}
}

func TestReadyzSaysWhyInOneLine(t *testing.T) {
	var now atomic.Pointer[Health]
	url := start(t, Config{}, func() Health { return *now.Load() })
	parts := []string{"plant: away", "door: open"}
	for _, c := range []struct {
		health Health
		status int
		body   string
	}{
		{Health{NotReady: errors.Join(errors.New("starting"), errors.New("no broker")), Degraded: "slow", Parts: parts}, 503, "starting; no broker\nplant: away\ndoor: open\n"},
		{Health{Degraded: "buffering", Parts: parts}, 200, "degraded: buffering\nplant: away\ndoor: open\n"},
		{Health{Parts: parts}, 200, "ok\nplant: away\ndoor: open\n"},
	} {
		now.Store(&c.health)
		if status, body := get(t, url+"/readyz"); status != c.status || body != c.body {
			t.Errorf("%d %q, want %d %q", status, body, c.status, c.body)
		}
	}
}

func TestPprofOnlyWhenSwitchedOn(t *testing.T) {
	url := start(t, Config{Pprof: true}, func() Health { return Health{} })
	if status, body := get(t, url+"/debug/pprof/goroutine?debug=1"); status != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %.80q", status, body)
	}
}

func TestOff(t *testing.T) {
	s, err := Listen(Config{Listen: Off}, prometheus.NewRegistry(), nil, slog.New(slog.DiscardHandler))
	if err != nil || s.Addr() != "" {
		t.Fatal(s.Addr(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := errors.Join(s.Run(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

func TestPortInUseNamesTheKey(t *testing.T) {
	first, err := Listen(Config{Listen: "127.0.0.1:0"}, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = Listen(Config{Listen: first.Addr()}, nil, nil, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "admin.listen") || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	for listen, ok := range map[string]bool{"127.0.0.1:9644": true, ":9644": true, "off": true, "[::1]:0": true, "": false, "9644": false, "localhost": false, "localhost:": false} {
		c := DefaultConfig()
		c.Listen = listen
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", listen, err)
		}
	}
	c := Config{Listen: "x"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "listen: ") || !strings.Contains(err.Error(), "stall_timeout: ") {
		t.Errorf("not both problems: %v", err)
	}
}
