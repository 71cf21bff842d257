package engine

import (
	"errors"
	"slices"

	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// maxSASL bounds a frame of SASL in bytes. The standard has 512 [~AMQP 5.3.1], which keys and tickets do not fit into.
const maxSASL = 4096

// maxRounds bounds the messages of a peer in one negotiation.
const maxRounds = 8

// negotiation is the layer of SASL while it lasts [AMQP 5.3.2].
type negotiation struct {
	x      *sasl.Exchange // nil: no mechanism has been chosen
	rounds int
}

// needsSASL reports whether it does not do without SASL: a server that wants to know who its peer is, or a client that
// says who it is.
func (c *Conn) needsSASL() bool {
	if c.client {
		return c.cfg.Credentials != nil
	}
	return !slices.Contains(c.cfg.Checker.Offered(c.cfg.External), sasl.Anonymous)
}

// say sends a frame of SASL.
func (c *Conn) say(p performative) {
	c.mu.Lock()
	c.grab()
	at := len(c.out)
	c.out = frame.EndFrame(p.Append(frame.BeginFrame(c.out, frame.TypeSASL, 0)), at)
	c.mu.Unlock()
}

// beginSASL is called when the peer has sent the header of SASL.
func (c *Conn) beginSASL() {
	c.asking = &negotiation{}
	if c.client {
		return
	}
	c.mu.Lock()
	c.write(headerSASL)
	c.mu.Unlock()
	var m frame.SASLMechanisms
	for _, name := range c.cfg.Checker.Offered(c.cfg.External) {
		m.Mechanisms = append(m.Mechanisms, frame.Symbol(name))
	}
	c.say(&m)
}

// negotiate takes one frame of SASL.
func (c *Conn) negotiate(f frame.Frame) error {
	if f.Type != frame.TypeSASL {
		return violation(frame.FramingError, "a frame that is not SASL's")
	}
	if c.asking.rounds++; c.asking.rounds > maxRounds {
		return sasl.ErrMalformed
	}
	what, err := frame.DescriptorOf(f.Body)
	if err != nil {
		return err
	}
	body := slices.Clone(f.Body)
	switch {
	case what == frame.CodeSASLInit && !c.client && c.asking.x == nil:
		return c.chosen(body)
	case what == frame.CodeSASLResponse && !c.client && c.asking.x != nil:
		var r frame.SASLResponse
		if err := r.Decode(body); err != nil {
			return err
		}
		return c.judge(notNil(r.Response))
	case what == frame.CodeSASLMechanisms && c.client && c.asking.x == nil:
		return c.choose(body)
	case what == frame.CodeSASLChallenge && c.client && c.asking.x != nil:
		return c.respond(body)
	case what == frame.CodeSASLOutcome && c.client && c.asking.x != nil:
		return c.outcome(body)
	}
	return violation(frame.FramingError, "a frame of SASL out of its order")
}

// chosen takes the mechanism that a client wants.
func (c *Conn) chosen(body []byte) error {
	var i frame.SASLInit
	err := i.Decode(body)
	if err != nil {
		return err
	}
	if c.asking.x, err = c.cfg.Checker.Start(string(i.Mechanism), c.cfg.External); err != nil {
		return c.deny(err)
	}
	return c.judge(i.InitialResponse)
}

// judge takes what a client says; nil: nothing yet.
func (c *Conn) judge(message []byte) error {
	answer, done, err := c.asking.x.Next(message)
	switch {
	case err != nil:
		return c.deny(err)
	case !done:
		c.say(&frame.SASLChallenge{Challenge: answer})
		return nil
	}
	c.say(&frame.SASLOutcome{Code: frame.SASLOK, AdditionalData: answer})
	c.mu.Lock()
	c.user = c.asking.x.User()
	c.mu.Unlock()
	c.asking, c.layer = nil, atAMQPHeader
	return nil
}

// deny says no to a client, and not why.
func (c *Conn) deny(err error) error {
	c.say(&frame.SASLOutcome{Code: frame.SASLAuth})
	return err
}

// choose takes the mechanisms of a server.
func (c *Conn) choose(body []byte) error {
	var m frame.SASLMechanisms
	if err := m.Decode(body); err != nil {
		return err
	}
	offered := make([]string, len(m.Mechanisms))
	for i, name := range m.Mechanisms {
		offered[i] = string(name)
	}
	name, first, x, err := c.cfg.Credentials.Start(offered)
	if err != nil {
		return err
	}
	c.asking.x = x
	c.say(&frame.SASLInit{Mechanism: frame.Symbol(name), InitialResponse: first, Hostname: c.hostname()})
	return nil
}

// respond takes a challenge of a server.
func (c *Conn) respond(body []byte) error {
	var ch frame.SASLChallenge
	if err := ch.Decode(body); err != nil {
		return err
	}
	answer, _, err := c.asking.x.Next(notNil(ch.Challenge))
	if err != nil {
		return err
	}
	c.say(&frame.SASLResponse{Response: notNil(answer)})
	return nil
}

// errBusy is a server that cannot tell at the moment who somebody is [AMQP 5.3.3.6].
var errBusy = errors.New("amqp: the server cannot authenticate anybody at the moment")

// outcome takes the judgement of a server.
func (c *Conn) outcome(body []byte) error {
	var o frame.SASLOutcome
	if err := o.Decode(body); err != nil {
		return err
	}
	switch o.Code {
	case frame.SASLOK:
	case frame.SASLAuth, frame.SASLSysPerm:
		return sasl.ErrDenied
	default:
		return errBusy
	}
	if err := c.asking.x.Finish(o.AdditionalData); err != nil {
		return err
	}
	c.asking, c.layer = nil, atAMQPHeader
	c.mu.Lock()
	c.begin()
	c.mu.Unlock()
	return nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
