package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A Linkspan is one running process of the program under test.
type Linkspan struct {
	Dir    string // its working directory, configuration file and log
	Config string // the file
	Admin  string // address of its admin listener
	Ports  []int  // those that its configuration was made with

	Args []string // of its command line, in place of those that name the file
	Env  []string // variables beside our own

	binary  string
	process *Process
}

// BuildLinkspan builds the program from the source tree above this module, as a release is built.
func BuildLinkspan(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "linkspan")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/linkspan")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/linkspan: %w\n%s", err, out)
	}
	return binary, nil
}

// StartLinkspan starts the program and waits until it is ready. config returns the configuration, without its admin
// section, for n free ports; it is asked again if one of them is taken in the meantime. env are variables beside our own.
func StartLinkspan(ctx context.Context, binary, dir string, n int, config func(ports []int) string, env ...string) (*Linkspan, error) {
	for attempt := 0; ; attempt++ {
		l, err := NewLinkspan(binary, filepath.Join(dir, fmt.Sprint(attempt)), n, config)
		if err != nil {
			return nil, err
		}
		l.Env = env
		err = l.Start(ctx)
		if !errors.Is(err, errPortTaken) || attempt == 4 {
			return l, err
		}
	}
}

// listening finds the listeners of endpoints, which are given a minute for the beginning of a connection: a Java virtual machine
// takes longer than the default over its first one, on a machine that is busy.
var listening = regexp.MustCompile(`\{listen: "[^"]*"`)

// NewLinkspan prepares one, as [StartLinkspan] does, and does not start it.
func NewLinkspan(binary, dir string, n int, config func([]int) string) (*Linkspan, error) {
	ports, err := Ports(n + 1)
	if err != nil {
		return nil, err
	}
	l := &Linkspan{Dir: dir, Config: filepath.Join(dir, "linkspan.yaml"), Admin: Loopback(ports[n]), Ports: ports[:n], binary: binary}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	text := listening.ReplaceAllString(strings.TrimSpace(config(l.Ports)), "$0, connect_timeout: 1m")
	text = fmt.Sprintf("%s\nadmin: {listen: %q, stall_timeout: 5s}\n", text, l.Admin)
	return l, os.WriteFile(l.Config, []byte(text), 0o600)
}

// Start starts the process, again after it has ended, and waits until it says that it is ready.
func (l *Linkspan) Start(ctx context.Context) error {
	if err := l.Launch(); err != nil {
		return err
	}
	return Until(ctx, func() error {
		status, body, err := l.Get(ctx, "/readyz")
		switch {
		case !l.process.Running():
			log := l.Log()
			if strings.Contains(log, "address already in use") {
				return Final(fmt.Errorf("%w:\n%s", errPortTaken, log))
			}
			return Final(fmt.Errorf("linkspan ended:\n%s", log))
		case err != nil:
			return fmt.Errorf("linkspan is not ready: %w\n%s", err, l.Log())
		case status != http.StatusOK:
			return fmt.Errorf("linkspan is not ready: %d %s\n%s", status, body, l.Log())
		}
		return nil
	})
}

// Launch starts the process and does not wait for it.
func (l *Linkspan) Launch() error {
	args := l.Args
	if args == nil {
		args = []string{"run", "-c", l.Config}
	}
	cmd := exec.Command(l.binary, args...)
	cmd.Dir = l.Dir
	cmd.Env = append(environment(l.Dir), l.Env...)
	var err error
	l.process, err = Start("linkspan", cmd, filepath.Join(l.Dir, "linkspan.log"))
	return err
}

// environment is ours without what would override the configuration file. Data, such as the spool, belong into the folder dir.
func environment(dir string) []string {
	env := []string{"XDG_DATA_HOME=" + dir}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LINKSPAN_") && !strings.HasPrefix(v, "XDG_DATA_HOME=") {
			env = append(env, v)
		}
	}
	return env
}

// Get asks the admin listener.
func (l *Linkspan) Get(ctx context.Context, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Admin+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), err
}

// Kill kills it with SIGKILL and waits until it is gone.
func (l *Linkspan) Kill() {
	if l.process != nil {
		l.process.Kill()
	}
}

// Stop asks it to end and returns its exit code.
func (l *Linkspan) Stop(ctx context.Context) (int, error) {
	if err := l.process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	return l.process.Wait(ctx)
}

// Wait waits until it ends by itself, and returns its exit code.
func (l *Linkspan) Wait(ctx context.Context) (int, error) { return l.process.Wait(ctx) }

// Done is closed when the process is gone.
func (l *Linkspan) Done() <-chan struct{} { return l.process.Done() }

// PID returns its process id.
func (l *Linkspan) PID() int { return l.process.PID() }

// Peak returns the most resident memory that it has had at any time, in bytes.
func (l *Linkspan) Peak() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil {
			return kilobytes << 10, nil
		}
	}
	return 0, errors.New("the kernel does not tell the peak of resident memory")
}

// Addr returns the loopback address of port number i.
func (l *Linkspan) Addr(i int) string { return Loopback(l.Ports[i]) }

// Log returns the end of what it printed, all its runs together.
func (l *Linkspan) Log() string { return l.process.Tail(6000) }

// Lines returns all that it printed, all its runs together.
func (l *Linkspan) Lines() iter.Seq[string] { return strings.Lines(l.process.Log()) }
