package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for what has no bound in the contract. It is long, because it only passes
// where something is broken.
const patience = 2 * time.Minute

// eventually repeats check until it returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	within(t, patience, check)
}

// within is eventually with a bound of its own.
func within(t *testing.T, bound time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still after %v: %v", bound, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// output is a buffer that a process writes and a test reads.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// process is a program that runs until the test ends, or ends by itself.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	began          time.Time
	done           chan struct{} // closed when the process has ended
	code           int           // its exit code, -1 if a signal ended it
	took           time.Duration
}

// start starts a program with nothing in its environment but env.
func start(t *testing.T, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{}), began: time.Now()}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	// Nothing stays behind, even if the test is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := p.cmd.Wait()
		p.took = time.Since(p.began)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.stderr.Write([]byte(err.Error()))
		}
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s ended with code %d after %v\nstdout: %s\nstderr: %s",
				filepath.Base(path), p.code, p.took.Round(time.Millisecond), tail(p.stdout.String()), tail(p.stderr.String()))
		}
	})
	return p
}

func tail(s string) string {
	const most = 4000
	if len(s) > most {
		s = "..." + s[len(s)-most:]
	}
	return s
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience + *soak):
		t.Fatal("the process does not end")
	}
	return p.code
}

// startSocktally starts a command of socktally that no env file of this machine reaches, without flows
// unless env says otherwise. It keeps what it cannot deliver for the time of the test, unless env names
// another place.
func startSocktally(t *testing.T, env []string, command string) *process {
	t.Helper()
	return start(t, append([]string{"SOCKTALLY_STATE_DIR=" + t.TempDir(), "SOCKTALLY_FLOWS=off"}, env...), binary(t, socktally), command, "--env-file", os.DevNull)
}

// The messages of the log that the tests look for.
const (
	msgStarted      = "started"
	msgDelivered    = "samples are delivered"
	msgNotDelivered = "samples are not delivered"
	msgAgain        = "samples are delivered again"
)

// startDaemon starts socktally run, reading each second and logging JSON.
func startDaemon(t *testing.T, env ...string) *process {
	t.Helper()
	return startSocktally(t, append([]string{"SOCKTALLY_SCHEDULE=@every 1s", "SOCKTALLY_LOG_FORMAT=json"}, env...), "run")
}

// messages returns the messages of the log so far.
func (p *process) messages() []string {
	var all []string
	for line := range strings.Lines(p.stderr.String()) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			entry.Msg = line // no JSON: the comparison of the test shows it
		}
		all = append(all, entry.Msg)
	}
	return all
}

// printed returns how many samples of a metric the sink stdout has got: one of each reading.
func (p *process) printed(name string) int {
	return strings.Count("\n"+p.stdout.String(), "\n"+name+":")
}

// waitFor waits until the log holds a message.
func (p *process) waitFor(t *testing.T, message string) {
	t.Helper()
	eventually(t, func() error {
		for _, m := range p.messages() {
			if m == message {
				return nil
			}
		}
		return errors.New("the log lacks " + message)
	})
}
