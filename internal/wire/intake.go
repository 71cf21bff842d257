package wire

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/pressure"
)

// An intake is where connections hand over what their peers send: the sink of Run, who waits for room in it, and what it has.
type intake struct {
	to       linkspan.Sink
	bounded  linkspan.Bounded // to, if it is one
	sending  context.Context  // ends when nothing is waited for any more
	pressure *pressure.Pressure
	empty    chan struct{} // has a token when, draining, the last message is settled
	draining atomic.Int64  // since when, in nanoseconds of the clock; 0: it is not
}

func (i *intake) open() {
	i.empty = make(chan struct{}, 1)
	i.pressure = pressure.New(func() bool { return linkspan.Room(i.to, nil) })
}

func (i *intake) begin(sending context.Context, to linkspan.Sink) {
	i.to, i.sending = to, sending
	i.bounded, _ = to.(linkspan.Bounded)
}

// Send hands m to the sink. The caller counts it as in flight, before its connection ends; done calls Settled.
func (s *Server) Send(m *linkspan.Message, done func(error)) {
	s.intake.to.Send(s.intake.sending, m, done)
}

// Sending returns the context of Send: it ends when nothing is waited for any more.
func (s *Server) Sending() context.Context { return s.intake.sending }

// Room reports whether the sink takes m within its bound, or any message if m is nil.
func (s *Server) Room(m *linkspan.Message) bool {
	return s.intake.bounded == nil || s.intake.bounded.Room(m)
}

// Pressure returns who waits for room in the sink.
func (s *Server) Pressure() *pressure.Pressure { return s.intake.pressure }

// Settled counts a message that is settled, and tells drain of the last.
func (s *Server) Settled() {
	s.stats.InFlight.Out(1)
	if s.Draining() && s.stats.InFlight.Load() == 0 {
		select {
		case s.intake.empty <- struct{}{}:
		default:
		}
	}
}

// Draining reports whether the server accepts no more. Then the readers have been woken, or will be.
func (s *Server) Draining() bool { return s.intake.draining.Load() != 0 }

// DrainingSince returns since when it is so; zero: it is not.
func (s *Server) DrainingSince() time.Time {
	if at := s.intake.draining.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// drain waits for the connections to settle and end, and after DrainTimeout ends those that are left.
func (s *Server) drain() {
	s.intake.draining.Store(time.Now().UnixNano())
	s.Each((*Conn).Wake)
	late := time.After(s.cfg.DrainTimeout)
	select {
	case <-s.noneOpen():
	case <-late:
		s.log.Warn("stopping with connections that are not settled", "messages", s.stats.InFlight.Load())
		s.Each(func(c *Conn) { c.protocol.Stop(s.cfg.Stopping) })
		return
	}
	for s.stats.InFlight.Load() > 0 { // of connections that ended before
		select {
		case <-s.intake.empty:
		case <-late:
			s.log.Warn("stopping with messages that are not settled", "messages", s.stats.InFlight.Load())
			return
		}
	}
}
