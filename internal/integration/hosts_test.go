package integration

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestWithoutEtcHosts runs socktally where /etc is empty, as in an image FROM scratch, and where no name
// server can be reached: only a name that is not localhost is looked up.
func TestWithoutEtcHosts(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	receiver, err := net.ListenPacket("udp4", "127.0.0.1:8125")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	run := func(command string, env ...string) *process {
		env = append(env, "SOCKTALLY_STATE_DIR="+t.TempDir(), "SOCKTALLY_FLOWS=off", "SOCKTALLY_LOG_FORMAT=json")
		return start(t, env, needTool(t, "unshare"), "--mount", "sh", "-c", `mount -t tmpfs none /etc && exec "$0" "$@"`,
			binary(t, socktally), command, "--env-file", os.DevNull)
	}
	for _, env := range []string{"", "DD_AGENT_HOST=localhost", "DD_DOGSTATSD_URL=udp://localhost"} {
		p := run("once", env)
		if code := p.wait(t); code != 0 || p.stderr.String() != "" {
			t.Errorf("with %q: exit code %d, printed %q", env, code, p.stderr.String())
			continue
		}
		if err := receiver.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64<<10)
		n, _, err := receiver.ReadFrom(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), "sockstat.") {
			t.Errorf("with %q: the receiver got %q, %v", env, b[:n], err)
		}
	}

	p := run("once", "DD_AGENT_HOST=agent.invalid")
	if code := p.wait(t); code != 1 || !strings.Contains(p.stderr.String(), "lookup agent.invalid") {
		t.Errorf("with the name of another host: exit code %d, printed %q", code, p.stderr.String())
	}

	d := run("run", "SOCKTALLY_LISTEN=localhost:8127")
	d.waitFor(t, msgStarted)
	eventually(t, func() error {
		answer, err := http.Get("http://127.0.0.1:8127/healthz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the API answers %s", answer.Status)
		}
		return nil
	})
	asked := run("connections", "SOCKTALLY_LISTEN=localhost:8127")
	if code := asked.wait(t); code != 0 {
		t.Errorf("connections: exit code %d, printed %q", code, asked.stderr.String())
	}
	endsWell(t, d)
}
