package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// amqpDrivers are the programs that lead AMQP client libraries of other languages: one of each for all tests.
var amqpDrivers = map[string]func() (*harness.Driver, error){
	"proton": sync.OnceValues(func() (*harness.Driver, error) {
		return newDriver("proton", exec.Command(world.parts.Proton, client("proton_python.py")))
	}),
	"rhea": sync.OnceValues(func() (*harness.Driver, error) {
		return newDriver("rhea", rhea())
	}),
	"vertx": sync.OnceValues(func() (*harness.Driver, error) {
		return newDriver("vertx", exec.Command("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
			"-cp", filepath.Join(world.parts.Vertx, "*"), client("vertx/Vertx5.java")))
	}),
}

// rhea returns the command that leads rhea.
func rhea() *exec.Cmd {
	cmd := exec.Command("node", client("rhea.cjs"))
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(world.parts.Node, "node_modules"))
	return cmd
}

// peers are all makes of AMQP client that the tests know but for Qpid JMS, which hides links behind an interface of its own.
var peers = []harness.PeerMake{
	{Name: "proton", Schemes: []string{"amqp", "amqps"}, Dial: led("proton")},
	{Name: "rhea", Schemes: []string{"amqp", "amqps", "amqpws", "amqpwss"}, Dial: led("rhea")},
	{Name: "go-amqp", Schemes: []string{"amqp", "amqps"}, Dial: harness.DialGoAMQP},
	{Name: "vertx", Schemes: []string{"amqp", "amqps"}, Dial: led("vertx")},
}

func led(name string) func(context.Context, harness.PeerOptions) (harness.Peer, error) {
	return func(ctx context.Context, o harness.PeerOptions) (harness.Peer, error) {
		d, err := amqpDrivers[name]()
		if err != nil {
			return nil, err
		}
		return d.Peer(ctx, o)
	}
}

// peerMade returns the make of that name.
func peerMade(name string) harness.PeerMake {
	return peers[slices.IndexFunc(peers, func(m harness.PeerMake) bool { return m.Name == name })]
}

// meet connects a peer for the length of the test.
func meet(t *testing.T, m harness.PeerMake, o harness.PeerOptions) harness.Peer {
	t.Helper()
	if o.Container == "" { // one of its own: a container that attaches a link again takes it from its other connections [AMQP 2.6.1]
		o.Container = fmt.Sprint(m.Name, " ", topics.Add(1))
	}
	p, err := m.Dial(deadline(t), o)
	if err != nil {
		t.Fatalf("%s: connect to %s: %v", m.Name, o.URL, err)
	}
	t.Cleanup(p.Drop)
	return p
}

// eachPeer runs a test with each make.
func eachPeer(t *testing.T, f func(t *testing.T, m harness.PeerMake)) {
	for _, m := range peers {
		t.Run(m.Name, func(t *testing.T) { f(t, m) })
	}
}

// attach attaches a link, or ends the test.
func attach(t *testing.T, p harness.Peer, o harness.LinkOptions) harness.Link {
	t.Helper()
	l, err := p.Attach(deadline(t), o)
	if err != nil {
		t.Fatalf("attach to %q: %v", o.Address, err)
	}
	return l
}

// sender attaches a sender.
func sender(t *testing.T, p harness.Peer, address string) harness.Link {
	t.Helper()
	return attach(t, p, harness.LinkOptions{Address: address})
}

// receiver attaches a receiver and gives it credit.
func receiver(t *testing.T, p harness.Peer, address string, credit int, filters ...harness.Filter) harness.Link {
	t.Helper()
	l := attach(t, p, harness.LinkOptions{Address: address, Receiver: true, Filters: filters})
	flow(t, l, credit)
	return l
}

func flow(t *testing.T, l harness.Link, credit int) {
	t.Helper()
	if credit > 0 {
		must(t, l.Flow(deadline(t), credit, false))
	}
}

// send sends a message and waits until it is accepted; it returns what the library made of it.
func send(t *testing.T, l harness.Link, message []byte) []byte {
	t.Helper()
	r, err := l.Send(deadline(t), message)
	must(t, err)
	o, err := r.Outcome(deadline(t))
	must(t, err)
	if o.State != harness.Accepted {
		t.Fatalf("not accepted: %+v", o)
	}
	return r.Sent
}

// came returns the next message of a receiver.
func came(t *testing.T, l harness.Link) *harness.Delivery {
	t.Helper()
	d, err := l.Next(deadline(t))
	must(t, err)
	return d
}

// settle settles a message.
func settle(t *testing.T, l harness.Link, d *harness.Delivery, state string) {
	t.Helper()
	must(t, l.Settle(deadline(t), d, harness.Outcome{State: state}))
}
