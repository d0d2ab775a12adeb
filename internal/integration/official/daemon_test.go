package official

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"socktally/metric"
)

// TestDaemon has the client read the API of a daemon that tallies this host, and judges every payload that
// the daemon sends until it ends. It needs no root: what only root may count is another test's.
func TestDaemon(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "socktally")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	in := newIntake(t)
	daemon := exec.CommandContext(t.Context(), binary, "run", "--env-file", os.DevNull, "--listen", address)
	daemon.Env = []string{
		"SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL=" + in.URL, "SOCKTALLY_STATE_DIR=" + dir, "SOCKTALLY_API_KEYS=" + key,
		"SOCKTALLY_SCHEDULE=@every 1s", "SOCKTALLY_FLOWS_SCHEDULE=@every 1s", "DD_TAGS=team:net", "DD_API_KEY=" + key,
	}
	var log bytes.Buffer
	daemon.Stdout, daemon.Stderr = &log, &log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = daemon.Process.Kill()
			_ = daemon.Wait()
		}
		if t.Failed() {
			t.Logf("%s", log.Bytes())
		}
	}()

	// The question itself is a connection that the answer has.
	client, ctx := monitoring(t, "http://"+address, key)
	_, port, _ := net.SplitHostPort(address)
	eventually(t, func() error {
		answer, _, err := client.GetAggregatedConnections(ctx, *datadogV2.NewGetAggregatedConnectionsOptionalParameters().
			WithGroupBy("server_port,server_process").WithTags("server_port:" + port))
		if err != nil {
			return err
		}
		understood(t, answer)
		if len(answer.Data) == 0 || !strings.Contains(answer.Data[0].GetId(), "server_port:"+port) {
			return fmt.Errorf("got %+v", answer.Data)
		}
		return nil
	})
	queries, _, err := client.GetAggregatedDns(ctx)
	if err != nil {
		t.Error(err)
	}
	understood(t, queries)
	eventually(t, func() error {
		if sent := sentBy(t, in); !sent["sockstat.sockets.used"] || !sent[metric.FlowBytesSent] {
			return fmt.Errorf("sent %v", sent)
		}
		return nil
	})
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended = true
	if err := daemon.Wait(); err != nil {
		t.Error(err)
	}
	sentBy(t, in)
}

// sentBy judges every payload that came, and returns the names of their metrics.
func sentBy(t *testing.T, in *intake) map[string]bool {
	t.Helper()
	sent := map[string]bool{}
	for _, r := range in.received() {
		for _, s := range judgePayload(t, r.body).Series {
			sent[s.Metric] = true
		}
	}
	return sent
}

// eventually repeats check until it returns nil. The bound only passes where something is broken.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
