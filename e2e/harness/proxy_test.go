package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// echo is a server that says what it is told.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func open(t *testing.T, target string) *Proxy {
	p, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func call(t *testing.T, p *Proxy) net.Conn {
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// say sends text and expects it back.
func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	hear(t, c, text)
}

func hear(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("heard %q, %v; want %q", b, err, text)
	}
}

func opens(t *testing.T, p *Proxy, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Until(ctx, func() error {
		if got := p.Open(); got != want {
			return fmt.Errorf("%d connections, want %d", got, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestProxyForwards(t *testing.T) {
	p := open(t, echo(t))
	c := call(t, p)
	say(t, c, "hello")
	opens(t, p, 1)
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the end came as %v", err)
	}
	opens(t, p, 0)
	p.Delay(time.Millisecond)
	p.Throttle(1 << 20)
	say(t, call(t, p), string(bytes.Repeat([]byte("a"), 100_000)))
	if p.Total() != 2 {
		t.Errorf("%d connections in all", p.Total())
	}
}

func TestProxyCuts(t *testing.T) {
	p := open(t, echo(t))
	c := call(t, p)
	say(t, c, "hello")
	p.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("cut came as %v", err)
	}
	say(t, call(t, p), "again")

	p.Refuse()
	opens(t, p, 0)
	if c, err := net.Dial("tcp", p.Addr()); err == nil {
		_ = c.Close()
		t.Error("connected to a proxy that refuses")
	}
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	c = call(t, p)
	say(t, c, "once more")

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Network{p}.Flap(ctx, time.Millisecond) }()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived flapping")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	say(t, call(t, p), "for good")
}

// A throttled connection lets through a little all the time.
func TestProxyThrottled(t *testing.T) {
	p := open(t, echo(t))
	p.Throttle(1000)
	c := call(t, p)
	text := string(bytes.Repeat([]byte("a"), 1000)) + string(bytes.Repeat([]byte("b"), 30_000))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	hear(t, c, text[:200]) // the rest would take half a minute
	p.Heal()
	hear(t, c, text[200:])
}

// What is said into a black hole arrives when it heals, a close too; a close alone does not get through before.
func TestProxyBlackHole(t *testing.T) {
	p := open(t, echo(t))
	old, gone := call(t, p), call(t, p)
	say(t, old, "hello")
	say(t, gone, "hello")
	p.BlackHole()
	young := call(t, p)
	for _, c := range []net.Conn{old, young} {
		if _, err := io.WriteString(c, "anybody?"); err != nil {
			t.Fatal(err)
		}
	}
	_ = gone.Close()
	opens(t, p, 3)
	p.Heal()
	hear(t, old, "anybody?")
	hear(t, young, "anybody?")
	opens(t, p, 2)
}

// Accept waits for a port that somebody else has for a moment.
func TestProxyAcceptsWhenItsPortIsFree(t *testing.T) {
	p, err := NewProxy(Loopback(1))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Refuse()
	other, err := net.Listen("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = other.Close() })
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
}
