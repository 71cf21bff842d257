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

// Listen opens the port at once and returns a server that answers when it is run. metrics is what /metrics shows. ready
// returns nil when the bridge takes and delivers messages, else the reason why not in one line, and in any case lines about its
// parts; it is called from any goroutine. With Config.Listen "off" the server listens nowhere and Run only waits.
func Listen(cfg Config, metrics prometheus.Gatherer, ready func() (parts []string, err error), log *slog.Logger) (*Server, error) {
	s := &Server{log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", index)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		parts, err := ready()
		verdict := "ok"
		if err != nil {
			verdict = strings.ReplaceAll(err.Error(), "\n", "; ")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, verdict)
		for _, part := range parts {
			fmt.Fprintln(w, part)
		}
	})
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
<li><a href="/readyz">/readyz</a> does it take and deliver messages, and if not, why
</ul>
`)
}
