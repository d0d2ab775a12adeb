package filelock

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Try(path); !errors.Is(err, ErrHeld) || again != nil {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	unlock, err = Try(path)
	if err != nil {
		t.Fatalf("a lock that is free: %v", err)
	}
	unlock()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestNoFolder(t *testing.T) {
	if _, err := Try(filepath.Join(t.TempDir(), "none", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestKilledHolder has another process that is killed while it has the lock.
func TestKilledHolder(t *testing.T) {
	const variable = "SOCKTALLY_TEST_LOCK"
	if path := os.Getenv(variable); path != "" {
		if _, err := Try(path); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		select {} // until it is killed
	}
	path := filepath.Join(t.TempDir(), "lock")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(self, "-test.run=^TestKilledHolder$")
	holder.Env = append(os.Environ(), variable+"="+path)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Errorf("the holder says %q, %v", line, err)
	}
	if _, err := Try(path); !errors.Is(err, ErrHeld) {
		t.Errorf("while another process has it: %v", err)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // says that it was killed
	unlock, err := Try(path)
	if err != nil {
		t.Fatalf("after its end: %v", err)
	}
	unlock()
}
