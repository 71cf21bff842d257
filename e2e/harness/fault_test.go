package harness

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A disk that is full has no room for a byte, and has again when it is freed; one that is read-only takes nothing, even from
// those who have a file open.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	memory, err := NewMemoryDisk(filepath.Join(dir, "memory"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	file := filepath.Join(memory.Dir, "file")
	if err := memory.Fill(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("a"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk says %v", err)
	}
	if err := errors.Join(memory.Free(), os.WriteFile(file, []byte("a"), 0o600)); err != nil {
		t.Error(err)
	}

	disk, err := NewDisk(filepath.Join(dir, "disk"), 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	f, err := os.Create(filepath.Join(disk.Dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	if err := disk.ReadOnly(); err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("after")
	if err = errors.Join(err, f.Sync()); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a disk that is read-only says %v", err)
	}
}

// A process fails to sync while it is told to, and not before or after.
func TestInject(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	script := `while true; do dd if=/dev/zero of=file bs=1 count=1 conv=fsync 2>&1 | head -1; done`
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	p, err := Start("dd", cmd, filepath.Join(dir, "dd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	i, err := Inject(ctx, p.PID(), "fsync,fdatasync:error=EIO", filepath.Join(dir, "strace.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := i.Done(ctx, 3); err != nil {
		t.Fatal(err)
	}
	i.Close()
	before, after, _ := strings.Cut(p.Log(), "Input/output error")
	if strings.Contains(before, "error") || !strings.Contains(after, "Input/output error") {
		t.Errorf("dd says %s", p.Log())
	}
	n := strings.Count(p.Log(), "1+0")
	if err := Until(ctx, func() error {
		if strings.Count(p.Log(), "1+0") < n+3 {
			return errors.New("dd has not gone on")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
