// Package harness starts the real parts that the end-to-end tests are made of: Apache Kafka, the Linkspan binary, other
// people's MQTT clients. It publishes load and keeps the account of it, and ends all that it started.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Process is a child that dies with us: by Stop or Kill, and by the kernel's hand if this process is killed itself.
type Process struct {
	Name string

	cmd  *exec.Cmd
	log  string // file that takes its standard error, and standard output unless cmd had one
	done chan struct{}
	err  error // of Wait; after done
}

// starter runs the start of every child on one thread that never ends: the kernel takes the end of the thread that
// started a child for the death of its parent (PR_SET_PDEATHSIG).
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// Start starts cmd in a process group of its own. What it prints is appended to the file log.
func Start(name string, cmd *exec.Cmd, log string) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stderr = out
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{Name: name, cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID returns its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process is gone, its sockets with it.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process is still there.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig to the process alone.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process and its group with SIGKILL and waits until it is gone. A process that is gone is left alone:
// its id may be somebody else's by now.
func (p *Process) Kill() {
	if p.Running() {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // it may have ended since
	}
	<-p.done
}

// Wait waits until the process has ended, and returns its exit code; -1: a signal ended it.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", p.Name, ctx.Err())
	}
}

// Tail returns the last n bytes or so of what the process printed.
func (p *Process) Tail(n int64) string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-n), io.SeekStart)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 && int64(len(b)) >= n {
		b = b[i+1:]
	}
	return string(b)
}

// Log returns all that the process printed.
func (p *Process) Log() string { return p.Tail(1 << 30) }

// Until asks cond every few milliseconds until it returns nil, or an error marked by [Final]. When ctx ends first, it
// returns what cond said last.
func Until(ctx context.Context, cond func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		if err == nil {
			return nil
		}
		if f, ok := errors.AsType[final](err); ok {
			return f.error
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %w", err)
		}
	}
}

// Final marks an error that waiting does not mend.
func Final(err error) error { return final{err} }

type final struct{ error }
