// Package admin answers operators over HTTP: metrics, health and, where it is switched on, profiles.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is the admin section of the configuration.
type Config struct {
	// Listen is the host:port to answer HTTP on, or "off". The default is reachable from this machine only; there is no
	// authentication, so open it no further than those who may see the metrics. Default 127.0.0.1:9644.
	Listen string `yaml:"listen"`
	// Pprof adds Go's profiles under /debug/pprof/. They show what the program does and contain parts of its memory.
	// Default false.
	Pprof bool `yaml:"pprof"`
	// StallTimeout is how long Kafka may leave messages that wait for it unacknowledged before /readyz says that the bridge
	// is not ready. Default 30s.
	StallTimeout time.Duration `yaml:"stall_timeout"`
}

// Off is the value of Config.Listen for no HTTP at all.
const Off = "off"

// DefaultConfig returns the configuration of a bridge that was not told otherwise.
func DefaultConfig() Config { return Config{Listen: "127.0.0.1:9644", StallTimeout: 30 * time.Second} }

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	if _, port, err := net.SplitHostPort(c.Listen); c.Listen != Off && (err != nil || port == "") {
		errs = append(errs, fmt.Errorf("listen: %q is not host:port, as in 127.0.0.1:9644 or :9644; \"off\" for none", c.Listen))
	}
	if c.StallTimeout <= 0 {
		errs = append(errs, fmt.Errorf("stall_timeout: must be positive, is %v", c.StallTimeout))
	}
	return errors.Join(errs...)
}

// A Server answers operators.
type Server struct {
	log      *slog.Logger
	listener net.Listener
	http     http.Server
}

// Health is what /readyz tells.
type Health struct {
	// NotReady is why the bridge does not take and deliver messages as it should; nil: it does. The answer has the status 503.
	NotReady error
	// Degraded is what it has to do without meanwhile, in words; "": nothing. The status is 200.
	Degraded string
	// Parts are lines about its parts.
	Parts []string
}

// verdict is the first line of /readyz.
func (h *Health) verdict() string {
	text := "ok"
	switch {
	case h.NotReady != nil:
		text = h.NotReady.Error()
	case h.Degraded != "":
		text = "degraded: " + h.Degraded
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// Listen opens the port at once and returns a server that answers when it is run. metrics is what /metrics shows. health is called
// from any goroutine, and so is the Answer of a page. With Config.Listen "off" the server listens nowhere and Run only waits.
func Listen(cfg Config, metrics prometheus.Gatherer, health func() Health, log *slog.Logger, pages ...Page) (*Server, error) {
	s := &Server{log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", index)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		h := health()
		if h.NotReady != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, h.verdict())
		for _, part := range h.Parts {
			fmt.Fprintln(w, part)
		}
	})
	for _, page := range pages {
		mux.HandleFunc("GET "+page.Path, page.show)
	}
	if cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	if cfg.Listen == Off {
		return s, nil
	}
	var err error
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("admin.listen: %w; choose another address, or \"off\"", err)
	}
	return s, nil
}

// Addr returns the host:port that the server listens on, "" if nowhere.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run answers until ctx ends, then closes the port and all connections. It returns nil for that end.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: %w", err)
	}
	return nil
}

// Close closes the port of a server that may not have been run.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// index tells a person who opens the port in a browser what is there.
func index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, `<!doctype html><title>Linkspan</title><h1>Linkspan</h1>
<ul><li><a href="/metrics">/metrics</a> what it did, for Prometheus
<li><a href="/healthz">/healthz</a> is the process alive
<li><a href="/readyz">/readyz</a> does it take and deliver messages, and if not as it should, why
</ul>
`)
}
