package harness

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// An Injection changes what the kernel answers to a running process, by way of strace.
type Injection struct{ process *Process }

// Inject begins to change the system calls of process pid, as strace's option `inject` describes it: "fdatasync,fsync:error=EIO".
// It returns when every thread of the process is held.
func Inject(ctx context.Context, pid int, what, log string) (*Injection, error) {
	calls, _, _ := strings.Cut(what, ":")
	p, err := Start("strace", exec.Command("strace", "-f", "-p", fmt.Sprint(pid), "-e", "trace="+calls, "-e", "inject="+what), log)
	if err != nil {
		return nil, err
	}
	i := &Injection{p}
	return i, Until(ctx, func() error {
		log := p.Log()
		switch {
		case strings.Contains(log, fmt.Sprintf("Process %d attached", pid)):
			return nil
		case !p.Running():
			return Final(fmt.Errorf("strace ended: %s", log))
		}
		return fmt.Errorf("strace has not begun: %s", log)
	})
}

// Done waits until so many system calls were changed.
func (i *Injection) Done(ctx context.Context, n int) error {
	return Until(ctx, func() error {
		if got := strings.Count(i.process.Log(), "(INJECTED)") + strings.Count(i.process.Log(), "(DELAYED)"); got < n {
			return fmt.Errorf("%d system calls were changed, want %d: %s", got, n, i.process.Tail(1000))
		}
		return nil
	})
}

// Close lets the process go on as if nothing had been. It may be called twice.
func (i *Injection) Close() {
	_ = i.process.Signal(syscall.SIGTERM) // strace lets go of what it holds; it may have ended
	<-i.process.Done()
}
