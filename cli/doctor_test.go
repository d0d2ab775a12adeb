package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"socktally/doctor"
)

// TestDoctor runs the command over this machine, with a receiver that is there, then with none.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "dsd.sock")
	receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DD_DOGSTATSD_URL", "unixgram://"+socket)
	t.Setenv("DD_API_KEY", "0123456789abcdef")
	t.Setenv("SOCKTALLY_STATE_DIR", dir)
	t.Setenv("SOCKTALLY_FLOWS", "off")
	run := func(args ...string) (int, string) {
		var stdout, stderr bytes.Buffer
		code := Main(append([]string{"doctor", "--env-file", os.DevNull}, args...), &stdout, &stderr, "test")
		if stderr.Len() > 0 {
			t.Errorf("%q: stderr %q", args, stderr.String())
		}
		if strings.Contains(stdout.String(), "0123456789abcdef") {
			t.Errorf("%q shows the key", args)
		}
		return code, stdout.String()
	}

	code, text := run()
	if code > 1 { // a container's network is less than a host's
		t.Errorf("exit code %d:\n%s", code, text)
	}
	if !strings.Contains(text, "ok    receiver   unixgram://"+socket) {
		t.Errorf("got\n%s", text)
	}

	receiver.Close()
	code, text = run("--json")
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	var findings []doctor.Finding
	if err := json.Unmarshal([]byte(text), &findings); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, f := range findings {
		if f.Check == "receiver" && (f.State != doctor.Bad || f.Remedy == "") {
			t.Errorf("got %+v", f)
		}
	}
	if code, text = run(); !strings.Contains(text, " -> start the DogStatsD receiver") {
		t.Errorf("exit code %d, no remedy in\n%s", code, text)
	}
}

// TestDoctorOfAnotherProcess takes the settings from the environment of a process.
func TestDoctorOfAnotherProcess(t *testing.T) {
	other := exec.Command("sleep", "60")
	other.Env = []string{"SOCKTALLY_SCHEDULE=@hourly", "SOCKTALLY_FLOWS=off", "SOCKTALLY_FORWARD=stdout"}
	// The environment of this process is not used and does not change.
	t.Setenv("SOCKTALLY_SCHEDULE", "@daily")
	t.Setenv("SOCKTALLY_SCOPE", "nowhere")
	before := os.Environ()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	for { // it has no environment yet while it starts
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", other.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if len(environ) > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	var stdout, stderr bytes.Buffer
	Main([]string{"doctor", "--env-file", os.DevNull, "--pid", strconv.Itoa(other.Process.Pid)}, &stdout, &stderr, "test")
	for _, want := range []string{"@hourly", "off, by SOCKTALLY_FLOWS", "the standard output"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s%s", want, stdout.String(), stderr.String())
		}
	}
	if after := os.Environ(); !slices.Equal(before, after) {
		t.Errorf("the environment was\n%q\nand is\n%q", before, after)
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, args := range [][]string{{"--interval", "1ms"}, {"--pid", "-1"}, {"--forward", "nowhere"}, {"now"}} {
		var stdout, stderr bytes.Buffer
		if code := Main(append([]string{"doctor"}, args...), &stdout, &stderr, "test"); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: code %d, stderr %q", args, code, stderr.String())
		}
	}
}
