package mqtt

import (
	"context"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// listen runs a listener until the test ends.
func listen(t *testing.T, sink linkspan.SinkFunc) *Listener {
	t.Helper()
	cfg := DefaultListenerConfig()
	cfg.URL = "mqtt://127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	registry := session.NewRegistry(session.DefaultConfig(), log)
	l, err := Listen(cfg, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx, sink) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = registry.Close(context.Background())
	})
	return l
}

// A device that closes its side right behind a message is gone while that is not settled. Mostly the end of the stream comes along with the
// message, so that the poller does not tell of it.
func TestHalfCloseBehindMessage(t *testing.T) {
	held := make(chan func(error), 1)
	l := listen(t, func(_ context.Context, _ *linkspan.Message, done func(error)) { held <- done })
	c := mqtttest.Dial(t, l.Addr().String(), packet.V5).Join("d1")
	c.Send(&packet.Publish{Topic: "t", QoS: 1, PacketID: 1})
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	done := <-held
	for l.Stats().Gone.Load() == 0 {
		runtime.Gosched()
		l.server.Rest()
	}
	c.ExpectClosed()
	done(nil)
}
