package mqtt

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
)

// maxUpgrade is how many bytes a device may send as HTTP request for a WebSocket.
const maxUpgrade = 16 << 10

// upgrade answers the HTTP request that turns the connection into a WebSocket, bounded by the connection's deadline.
func (c *conn) upgrade(rw io.ReadWriter) error {
	var origin string
	var spoken bool
	u := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			if path, _, _ := strings.Cut(string(uri), "?"); path != c.l.address.Path {
				return rejected(http.StatusNotFound, "not found")
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "Origin") {
				origin = string(value)
			}
			return nil
		},
		Protocol: func(p []byte) bool { // [MQTT-6.0.0-4]
			spoken = string(p) == "mqtt" || string(p) == "mqttv3.1"
			return spoken
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if !spoken { // [MQTT-6.0.0-3]
				return nil, rejected(http.StatusBadRequest, "no subprotocol mqtt")
			}
			if origin != "" && len(c.l.cfg.Origins) > 0 && !slices.Contains(c.l.cfg.Origins, origin) {
				return nil, rejected(http.StatusForbidden, "origin not allowed")
			}
			return nil, nil
		},
	}
	_, err := u.Upgrade(struct {
		io.Reader
		io.Writer
	}{io.LimitReader(rw, maxUpgrade), rw})
	if err == nil {
		c.ws = websocket.NewReader(websocket.Server)
	}
	return err
}

// rejected is the answer to a request that gets no WebSocket.
func rejected(status int, why string) error {
	return ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(why))
}

// frame puts packets into one binary frame [MQTT-6.0.0-1], and control frames behind it. It frees plain.
func frame(plain *buffer, control []byte) *buffer {
	if plain == nil && control == nil {
		return nil
	}
	b := newBuffer()
	if plain != nil && len(plain.b) > 0 {
		b.b = websocket.Server.Append(b.b, ws.OpBinary, plain.b)
	}
	plain.free()
	b.b = append(b.b, control...)
	return b
}

// readWS reads what is there into p, and answers control frames.
func (c *conn) readWS(p []byte) (int, error) {
	n, err := c.readStream(p)
	if c.ws.Closed() {
		return 0, io.EOF
	}
	n, bad := c.ws.Unframe(p[:n])
	if answer := c.ws.Answer(); answer != nil && c.out.open() != nil {
		c.out.control = append(c.out.control, answer...)
		c.added(0)
	}
	if bad != nil {
		err = bad
	}
	return n, err
}
