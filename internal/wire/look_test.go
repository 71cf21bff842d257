//go:build unix

package wire

import "testing"

// tardy is a reader to which a line comes, and the end of its deadline, before it looks.
type tardy struct {
	lines
	looking, come chan struct{}
}

func (l *tardy) Run() error {
	if l.looking != nil {
		close(l.looking)
		l.looking = nil
		<-l.come
		l.SetReadDeadline(past)
		return errWouldBlock
	}
	return l.lines.Run()
}

func (l *tardy) Late() error {
	if l.said == 0 {
		return errLate
	}
	return l.lines.Late()
}

// What has come is not late, however late it is looked at: who takes a machine that stood still for silence sends all peers away.
func TestComeBeforeTheDeadline(t *testing.T) {
	looking, come := make(chan struct{}), make(chan struct{})
	tr := start(t, false, func(c *Config) {
		c.New = func() (*Conn, Protocol) {
			l := &tardy{lines{t: &trial{ended: make(chan error, 1)}}, looking, come}
			return &l.Conn, l
		}
	})
	nc := tr.dial(t)
	<-looking
	say(t, nc, "hello\n")
	close(come)
	hear(t, nc, "hello\n")
}
