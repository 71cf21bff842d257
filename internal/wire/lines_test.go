package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/address"
)

// local is an address of this machine, on a free port.
func local() address.Address { return address.Address{Host: "127.0.0.1", Port: "0"} }

// lines is a protocol for tests: each line is answered with itself, and the line "bye" ends the connection. It adds answers as
// they come, or keeps them for Output.
type lines struct {
	Conn
	t       *trial
	stopped atomic.Pointer[error]
	said    int // lines
}

// kept is the same with an Output.
type kept struct {
	lines
	mu   sync.Mutex
	more []byte
}

var (
	errBye      = errors.New("bye")
	errStopping = errors.New("stopping")
	errLate     = errors.New("late")

	_ Protocol  = (*lines)(nil)
	_ Protocol  = (*kept)(nil)
	_ Outputter = (*kept)(nil)
)

func (l *lines) Run() error {
	for {
		switch e := l.stopped.Load(); {
		case e != nil:
			return *e
		case l.s.Draining():
			return errStopping
		case l.MoveOn():
			return nil
		case !l.MayRead():
			l.Park(time.Time{})
			continue
		}
		if err := l.Receive(false); err != nil {
			return err
		}
		if err := l.digest(); err != nil {
			return err
		}
	}
}

func (l *lines) digest() error {
	l.Worked()
	l.Hold()
	defer l.Release()
	in := l.Input()
	for {
		line, _, whole := bytes.Cut(in.Unread(), []byte("\n"))
		if !whole {
			return nil
		}
		in.Consume(len(line) + 1)
		l.said++
		if string(line) == "bye" {
			return errBye
		}
		l.answer(line)
	}
}

func (l *lines) answer(line []byte) {
	if k, ok := l.protocol.(*kept); ok {
		k.mu.Lock()
		k.more = append(append(k.more, line...), '\n')
		k.mu.Unlock()
		k.Ring()
		return
	}
	if b := l.Open(); b != nil {
		b.B = append(append(b.B, line...), '\n')
		l.Added(1)
	}
}

func (k *kept) Output(b []byte) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	b = append(b, k.more...)
	k.more = nil
	return b
}

func (l *lines) Late() error {
	limit := time.Time{}
	if l.said == 0 {
		limit = l.Born().Add(l.s.cfg.ConnectTimeout)
	}
	if !limit.IsZero() && !time.Now().Before(limit) {
		return errLate
	}
	l.SetReadDeadline(limit)
	return nil
}

func (l *lines) Close(err error) {
	f := Farewell{Code: ws.StatusNormalClosure, Linger: !errors.Is(err, io.EOF)}
	if _, ok := l.protocol.(*kept); !ok {
		f.Goodbye = func(b []byte) []byte { return append(b, "goodbye\n"...) }
	}
	l.t.ended <- err
	l.Finish(f)
}

func (l *lines) Stop(err error) {
	l.stopped.CompareAndSwap(nil, &err)
	l.Wake()
}

func (l *lines) Room() { l.t.room.Add(1) }

// A trial is a server for a test.
type trial struct {
	*Server
	stats Stats
	ended chan error // why connections did
	room  atomic.Int64
	stop  func() error
}

// quiet is a log that nobody reads.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// start runs a server, of lines or of kept, until the test ends.
func start(t testing.TB, keep bool, change ...func(*Config)) *trial {
	t.Helper()
	tr := &trial{ended: make(chan error, 100)}
	cfg := Config{Settings: DefaultSettings("lines", ""), At: local(), Stopping: errStopping}
	cfg.ConnectTimeout, cfg.WriteTimeout, cfg.DrainTimeout, cfg.MaxPartialTotal = time.Minute, time.Minute, time.Minute, 16<<20
	cfg.New = func() (*Conn, Protocol) {
		if keep {
			k := &kept{lines: lines{t: tr}}
			return &k.Conn, k
		}
		l := &lines{t: tr}
		return &l.Conn, l
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if tr.Server, err = Listen(cfg, &tr.stats, quiet); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- tr.Run(ctx, nil) }()
	tr.stop = sync.OnceValue(func() error {
		cancel()
		return <-ran
	})
	t.Cleanup(func() {
		if err := tr.stop(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

func (tr *trial) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", tr.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// pipe returns a connection that is none of the system's.
func (tr *trial) pipe() net.Conn {
	served, peer := net.Pipe()
	tr.Admit(served)
	return peer
}

func say(t testing.TB, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// hear reads want.
func hear(t testing.TB, c io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got[:n], err, want)
	}
}

// hearEnd reads want, and then the end.
func hearEnd(t testing.TB, c io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(c); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q and the end", got, err, want)
	}
}
