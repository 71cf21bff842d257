package mqtt_test

import (
	"crypto/tls"
	"net"
	"strconv"
	"testing"

	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// BenchmarkIdle reports the memory of a connection at rest.
func BenchmarkIdle(b *testing.B) {
	a := wiretest.NewAuthority(b)
	for _, scheme := range []string{"mqtt", "mqtts", "ws"} {
		wiretest.Idle(b, scheme, "TestIdleDevices", func(b *testing.B, conns int) (wait func(), job []string) {
			configure := func(c *mqtt.ListenerConfig) { c.URL = scheme + "://127.0.0.1:0" }
			if scheme == "mqtts" {
				configure = secure(a, scheme)
			}
			l := start(b, configure)
			wait = func() {
				mqtttest.Until(b, "all are connected", func() bool { return l.Stats().Sessions.Load() == int64(conns) })
			}
			return wait, []string{scheme, l.addr, a.File}
		})
	}
}

// TestIdleDevices is the other process of BenchmarkIdle.
func TestIdleDevices(t *testing.T) {
	wiretest.Devices(t, func(i int, job []string) {
		scheme, addr, file := job[0], job[1], job[2]
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		switch scheme {
		case "mqtts":
			nc = tls.Client(nc, wiretest.Trust(t, file))
		case "ws":
			nc = wiretest.WebSocket(t, nc, "mqtt", "/mqtt")
		}
		c := mqtttest.New(t, nc, packet.V311)
		c.Connect(packet.Connect{ClientID: "idle-" + strconv.Itoa(i), CleanStart: true, KeepAlive: 600})
	})
}
