// Package sample is a publisher and a subscriber for MQTT, to try a bridge or a broker with. They know nothing of Kafka.
package sample

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/client"
)

// A Connection says which broker to connect to, and as whom.
type Connection struct {
	URL       string // mqtt, mqtts, ws or wss
	Version   string // 5, 3.1.1, 3.1 or auto
	ClientID  string // "": one by chance
	Username  string
	Password  string
	KeepAlive time.Duration
	TLS       TLS
}

// TLS names the files for mqtts and wss, and what is not verified.
type TLS struct {
	CA, Cert, Key     string
	AnyName, Insecure bool
}

// newClient returns a client that begins and ends without a session.
func newClient(c *Connection, filters []string, adjust func(*client.Config), log *slog.Logger) (*client.Client, error) {
	if c.ClientID == "" {
		c.ClientID = "linkspan-" + rand.Text()[:8]
	}
	cfg := client.DefaultConfig()
	cfg.Dial, cfg.Version, cfg.ClientID = []string{c.URL}, c.Version, c.ClientID
	cfg.Username, cfg.Password, cfg.KeepAlive = c.Username, linkspan.Secret(c.Password), c.KeepAlive
	cfg.TLS = client.TLSConfig{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key, AnyName: c.TLS.AnyName, Insecure: c.TLS.Insecure}
	cfg.CleanStart, cfg.SessionExpiry = true, 0
	adjust(&cfg)
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return client.New(cfg, filters, nil, log), nil
}

// connected runs use while the client is, and returns when both have ended: the client after use, which has that time to settle
// what is in flight.
func connected(ctx context.Context, c *client.Client, to linkspan.Sink, use func(ctx context.Context) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	using, cancel := context.WithCancel(ctx)
	defer cancel()
	var ended sync.WaitGroup
	var err error
	ended.Go(func() {
		defer cancel()
		err = c.Run(running, to)
	})
	used := use(using)
	stop()
	ended.Wait()
	return errors.Join(used, err)
}

// refuse is where messages go that nobody subscribed to.
func refuse(_ context.Context, _ *linkspan.Message, done func(error)) {
	done(linkspan.Permanent(errors.New("not subscribed")))
}
