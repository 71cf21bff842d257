package engine_test

import (
	"fmt"
	"time"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

// printer takes all that comes, and prints it.
type printer struct{ name string }

func (p printer) Opened(c *engine.Conn) error {
	fmt.Println(p.name, "talks to", c.Remote().ContainerID)
	return nil
}

func (p printer) Attaching(l *engine.Link) engine.LinkHandler {
	if l.Accept(frame.Attach{}) == nil {
		l.Grant(10)
	}
	return p
}

func (p printer) Transfer(_ *engine.Link, d *engine.Delivery, payload []byte) {
	fmt.Printf("%s got %s: %s\n", p.name, d.Tag(), payload)
	d.Settle(frame.State{Kind: frame.Accepted})
}

func (p printer) Flow(l *engine.Link) {
	_, _ = l.Send(engine.Outgoing{Tag: []byte("1"), Payload: []byte("hello")})
}

func (p printer) Settled(l *engine.Link, d *engine.Delivery) {
	fmt.Printf("%s: %s is %s\n", p.name, d.Tag(), d.Remote().Kind)
	d.Settle(frame.State{})
	l.Session().Conn().Close(nil)
}

func (p printer) Attached(*engine.Link)                     {}
func (p printer) Detached(*engine.Link, bool, *frame.Error) {}
func (p printer) Ended(*engine.Session, *frame.Error)       {}
func (p printer) Closed(err error)                          { fmt.Println(p.name, "is done:", err) }

// Two engines whose bytes are carried by hand. A socket would do it in between.
func Example() {
	client := engine.NewClient(engine.Config{ContainerID: "client"}, printer{"client"})
	server := engine.NewServer(engine.Config{ContainerID: "server"}, printer{"server"})

	session, _ := client.Begin()
	_, _ = session.Attach(frame.Attach{
		Name:   "greetings",
		Role:   frame.Sender,
		Source: &frame.Source{},
		Target: &frame.Target{Address: frame.Some("somewhere")},
	}, printer{"client"})

	now := time.Now()
	for client.Pending() || server.Pending() {
		_, _, _ = server.Input(client.Output(nil), now)
		_, _, _ = client.Input(server.Output(nil), now)
	}
	// Output:
	// server talks to client
	// client talks to server
	// server got 1: hello
	// client: 1 is accepted
	// server is done: <nil>
	// client is done: <nil>
}
