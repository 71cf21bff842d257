package harness

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/Azure/go-amqp"
)

// goPeer is one connection of go-amqp.
type goPeer struct {
	socket  net.Conn
	conn    *amqp.Conn
	session *amqp.Session
}

// DialGoAMQP opens a connection of go-amqp.
func DialGoAMQP(ctx context.Context, o PeerOptions) (Peer, error) {
	conf := amqp.ConnOptions{ContainerID: o.Container, SASLType: amqp.SASLTypeAnonymous()}
	switch o.Mechanism {
	case "PLAIN":
		conf.SASLType = amqp.SASLTypePlain(o.User, o.Password)
	case "EXTERNAL":
		conf.SASLType = amqp.SASLTypeExternal("")
	case "", "ANONYMOUS":
	default:
		return nil, fmt.Errorf("go-amqp does not know %s", o.Mechanism)
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	conf.HostName = u.Hostname()
	p := &goPeer{}
	if p.socket, err = (&net.Dialer{}).DialContext(ctx, "tcp", u.Host); err != nil {
		return nil, err
	}
	if u.Scheme == "amqps" {
		secure, err := (&Certs{CA: o.CA, ClientCert: o.Cert, ClientKey: o.Key}).ClientTLS()
		if err != nil {
			return nil, errors.Join(err, p.socket.Close())
		}
		secure.ServerName = "localhost"
		if o.Cert != "" {
			own, err := tls.LoadX509KeyPair(o.Cert, o.Key)
			if err != nil {
				return nil, errors.Join(err, p.socket.Close())
			}
			secure.Certificates = []tls.Certificate{own}
		}
		p.socket = tls.Client(p.socket, secure)
	}
	if p.conn, err = amqp.NewConn(ctx, p.socket, &conf); err != nil {
		return nil, errors.Join(err, p.socket.Close())
	}
	if p.session, err = p.conn.NewSession(ctx, nil); err != nil {
		return nil, errors.Join(err, p.conn.Close())
	}
	return p, nil
}

func (p *goPeer) Drop() { _ = p.socket.Close() }

func (p *goPeer) Close(context.Context) error { return p.conn.Close() }

func (p *goPeer) Attach(ctx context.Context, o LinkOptions) (Link, error) {
	l := &goLink{settled: o.Settled}
	var err error
	if o.Receiver {
		second, settled := amqp.ReceiverSettleModeSecond, amqp.SenderSettleModeSettled
		conf := amqp.ReceiverOptions{Name: o.Name, Credit: -1}
		if o.Second {
			conf.SettlementMode = &second
		}
		if o.Settled {
			conf.RequestedSenderSettleMode = &settled
		}
		for _, f := range o.Filters {
			value, err := f.value()
			if err != nil {
				return nil, err
			}
			conf.Filters = append(conf.Filters, amqp.NewLinkFilter(f.Name, 0, value))
		}
		l.receiver, err = p.session.NewReceiver(ctx, o.Address, &conf)
	} else {
		mode := amqp.SenderSettleModeUnsettled
		if o.Settled {
			mode = amqp.SenderSettleModeSettled
		}
		conf := amqp.SenderOptions{Name: o.Name, SettlementMode: &mode}
		if second := amqp.ReceiverSettleModeSecond; o.Second {
			conf.RequestedReceiverSettleMode = &second
		}
		l.sender, err = p.session.NewSender(ctx, o.Address, &conf)
	}
	if why := goRefusal(err); why != nil {
		return nil, why
	}
	return l, err
}

func (f Filter) value() (any, error) {
	if f.Type == "string" {
		return f.Value, nil
	}
	n, err := strconv.ParseInt(f.Value, 10, 64)
	switch f.Type {
	case "int":
		return int32(n), err
	case "uint":
		return uint32(n), err
	case "long":
		return n, err
	case "ulong":
		return uint64(n), err
	}
	return nil, fmt.Errorf("a filter of type %s", f.Type)
}

// goRefusal returns what the other side said; nil: nothing.
func goRefusal(err error) *Refusal {
	var remote *amqp.Error
	if link, ok := errors.AsType[*amqp.LinkError](err); ok {
		remote = link.RemoteErr
	} else if plain, ok := errors.AsType[*amqp.Error](err); ok {
		remote = plain
	}
	if remote == nil {
		return nil
	}
	return &Refusal{string(remote.Condition), remote.Description}
}

// goLink is a sender or a receiver.
type goLink struct {
	sender   *amqp.Sender
	receiver *amqp.Receiver
	settled  bool // the sender sends them so
}

func (l *goLink) Send(ctx context.Context, payload []byte) (*Receipt, error) {
	m := &amqp.Message{}
	if err := m.UnmarshalBinary(payload); err != nil {
		return nil, err
	}
	sent, err := m.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if l.settled {
		return &Receipt{Sent: sent}, l.sender.Send(ctx, m, nil)
	}
	receipt, err := l.sender.SendWithReceipt(ctx, m, nil)
	return &Receipt{Sent: sent, Outcome: func(ctx context.Context) (Outcome, error) {
		state, err := receipt.Wait(ctx)
		return goOutcome(state), err
	}}, err
}

func goOutcome(state amqp.DeliveryState) Outcome {
	switch s := state.(type) {
	case *amqp.StateAccepted:
		return Outcome{State: Accepted}
	case *amqp.StateRejected:
		o := Outcome{State: Rejected}
		if s.Error != nil {
			o.Condition, o.Description = string(s.Error.Condition), s.Error.Description
		}
		return o
	case *amqp.StateReleased:
		return Outcome{State: Released}
	case *amqp.StateModified:
		return Outcome{State: Modified, Failed: s.DeliveryFailed, Undeliverable: s.UndeliverableHere}
	}
	return Outcome{State: fmt.Sprintf("%T", state)}
}

func (l *goLink) Flow(ctx context.Context, credit int, drain bool) error {
	if credit > 0 {
		if err := l.receiver.IssueCredit(uint32(credit)); err != nil {
			return err
		}
	}
	if drain {
		return l.receiver.DrainCredit(ctx, nil)
	}
	return nil
}

func (l *goLink) Next(ctx context.Context) (*Delivery, error) {
	m, err := l.receiver.Receive(ctx, nil)
	if why := goRefusal(err); why != nil {
		return nil, why
	}
	if err != nil {
		return nil, err
	}
	b, err := m.MarshalBinary()
	return &Delivery{Payload: b, Tag: m.DeliveryTag, own: m}, err
}

func (l *goLink) Settle(ctx context.Context, d *Delivery, o Outcome) error {
	m := d.own.(*amqp.Message)
	switch o.State {
	case Accepted:
		return l.receiver.AcceptMessage(ctx, m)
	case Rejected:
		return l.receiver.RejectMessage(ctx, m, &amqp.Error{Condition: amqp.ErrCond(o.Condition), Description: o.Description})
	case Released:
		return l.receiver.ReleaseMessage(ctx, m)
	}
	return l.receiver.ModifyMessage(ctx, m, &amqp.ModifyMessageOptions{DeliveryFailed: o.Failed, UndeliverableHere: o.Undeliverable})
}

func (l *goLink) Detach(ctx context.Context) error {
	if l.receiver != nil {
		return l.receiver.Close(ctx)
	}
	return l.sender.Close(ctx)
}

func (l *goLink) Detached(ctx context.Context) (*Refusal, error) {
	if l.receiver == nil {
		return nil, errors.New("go-amqp tells senders of a detach when they send")
	}
	_, err := l.receiver.Receive(ctx, nil)
	if ctx.Err() != nil {
		return nil, err
	}
	return goRefusal(err), nil
}
