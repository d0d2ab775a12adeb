package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	msgFlows      = "flows are counted"
	msgReadAgain  = "networks are read again"
	msgStayAsWere = "networks stay as they were"
)

// flowValues sums up one metric over the points that have all of the labels.
func flowValues(points []point, name string, labels map[string]string) (sum float64, found bool) {
	for _, p := range find(points, name) {
		matches := true
		for key, value := range labels {
			matches = matches && p.Labels[key] == value
		}
		if matches {
			sum, found = sum+p.Value, true
		}
	}
	return sum, found
}

// TestFlowsOfServices has processes that name themselves by DD_SERVICE talk to each other, and reads
// what they said from receivers of both kinds.
func TestFlowsOfServices(t *testing.T) {
	if !inNamespace(t, socktally, statsdExporter, victoriaMetrics) {
		return
	}
	e, v := newExporter(t, "127.0.0.1").start(t), newVictoria(t).start(t)
	networks := filepath.Join(t.TempDir(), "networks")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(networks, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("127.0.0.0/8 name:This-Host rack:r7\n")
	d := startDaemon(t,
		"SOCKTALLY_FLOWS=auto", "SOCKTALLY_FLOWS_SCHEDULE=@every 1s", "SOCKTALLY_SCOPE=netns", "SOCKTALLY_NETWORKS_FILE="+networks,
		"SOCKTALLY_FLOW_TAGS=direction,protocol,service,env,version,remote,remote_class,server_port,server_service,tag.team,networks,source",
		"SOCKTALLY_FORWARD=dogstatsd,http", e.address(), "SOCKTALLY_HTTP_URL="+v.intake(), "DD_HOSTNAME=host-a",
		"DD_SERVICE=the-tally", "DD_ENV=tally-env", "DD_VERSION=9", "SOCKTALLY_TAGS=zone:z1",
	)
	d.waitFor(t, msgFlows)

	const calls, evilCalls = 300, 7
	server := startTalker(t, "serve", "DD_SERVICE=Shop API", "DD_ENV=prod")
	_, port, _ := strings.Cut(server, ":")
	startTalker(t, fmt.Sprintf("call %s %d", server, calls), "DD_SERVICE=checkout", "DD_ENV=prod", "DD_VERSION=2.1", "DD_TAGS=team:Pay,service:fake")
	startTalker(t, fmt.Sprintf("call %s %d", server, evilCalls), "DD_SERVICE=evil\nsocktally.flow.reset:77777|c|#service:checkout,x", "DD_TAGS=team:\xff")

	checkout := map[string]string{
		"host": "host-a", "zone": "z1", "direction": "local", "protocol": "tcp", "service": "checkout", "env": "prod", "version": "2.1",
		"remote": "this-host", "remote_class": "loopback", "server_port": port, "server_service": "shop_api", "team": "pay", "rack": "r7", "source": "ebpf",
	}
	evil := maps.Clone(checkout)
	maps.Copy(evil, map[string]string{"service": "evil_socktally.flow.reset:77777_c_service:checkout_x", "env": "n/a", "version": "n/a", "team": "n/a"})
	receivers := map[string]func() []point{
		statsdExporter:  func() []point { return dots(t, e.points(t)) },
		victoriaMetrics: func() []point { return v.points(t, "host-a") },
	}
	checkTold := func(labels map[string]string, n float64) {
		t.Helper()
		for receiver, read := range receivers {
			eventually(t, func() error {
				points := read()
				for name, want := range map[string]float64{
					"socktally.flow.bytes_sent": n * askBytes, "socktally.flow.bytes_received": n * answerBytes,
					"socktally.flow.established": n, "socktally.flow.closed": n,
				} {
					if got, _ := flowValues(points, name, labels); got != want {
						return fmt.Errorf("%s has %s = %v, want %v\n%v", receiver, name, got, want, find(points, name))
					}
				}
				return nil
			})
		}
	}
	checkTold(checkout, calls)
	checkTold(evil, evilCalls)

	// What has failed is told apart from what was closed.
	refusing := "127.0.0.1:" + freePort(t, "tcp", "127.0.0.1")
	curl := start(t, []string{"DD_SERVICE=gone-too-soon"}, needTool(t, "curl"), "-s", "http://"+refusing)
	curl.wait(t)
	_, refusingPort, _ := strings.Cut(refusing, ":")
	for receiver, read := range receivers {
		eventually(t, func() error {
			if got, _ := flowValues(read(), "socktally.flow.refused", map[string]string{"server_port": refusingPort, "direction": "local"}); got != 1 {
				return fmt.Errorf("%s has %v refusals", receiver, got)
			}
			return nil
		})
	}

	for _, step := range []struct{ table, log, remote string }{
		{"x\n", msgStayAsWere, "this-host"},
		{"127.0.0.1/32 name:one\n", msgReadAgain, "one"},
	} {
		write(step.table)
		d.signal(t, syscall.SIGHUP)
		d.waitFor(t, step.log)
		startTalker(t, "call "+server+" 1", "DD_SERVICE=after-"+step.remote)
		eventually(t, func() error {
			if _, found := flowValues(v.points(t, "host-a"), "socktally.flow.closed", map[string]string{"service": "after-" + step.remote, "remote": step.remote}); !found {
				return fmt.Errorf("no flow to %s", step.remote)
			}
			return nil
		})
	}

	for receiver, read := range receivers {
		for _, p := range read() {
			flow := strings.HasPrefix(p.Name, "socktally.flow.")
			own := p.Labels["service"] == "the-tally" && p.Labels["version"] == "9" && p.Labels["env"] == "tally-env"
			// The daemon's own flows: by HTTP, and the datagrams, of which its socket may pass for the server's.
			toReceiver := p.Labels["server_service"] == "victoria-metric" || p.Labels["protocol"] == "udp"
			if own != (!flow || toReceiver && p.Labels["service"] == "the-tally") {
				t.Errorf("%s: the tags of the daemon and those of flows are mixed up: %+v", receiver, p)
			}
			if p.Name == "socktally.flow.reset" && p.Value >= 77777 {
				t.Errorf("%s: a process made up a value: %+v", receiver, p)
			}
		}
	}
	if n := e.bad(t); n != 0 {
		t.Errorf("statsd_exporter could not read %v samples", n)
	}
	endsWell(t, d)
}

// TestFlowBudget makes flows to more ports than there are places.
func TestFlowBudget(t *testing.T) {
	if !inNamespace(t, socktally, victoriaMetrics) {
		return
	}
	v := newVictoria(t).start(t)
	const budget, servers, calls = 5, 12, 20
	d := startDaemon(t,
		"SOCKTALLY_FLOWS=auto", "SOCKTALLY_FLOWS_SCHEDULE=@every 1s", "SOCKTALLY_SCOPE=netns", "SOCKTALLY_FLOW_TAGS=server_port",
		"SOCKTALLY_FLOW_MAX_CONTEXTS="+strconv.Itoa(budget), "SOCKTALLY_FORWARD=http", "SOCKTALLY_HTTP_URL="+v.intake(), "DD_HOSTNAME=host-a",
		"SOCKTALLY_SCHEDULE=@every 1h",
	)
	d.waitFor(t, msgFlows)
	for range servers {
		startTalker(t, fmt.Sprintf("call %s %d", startTalker(t, "serve"), calls))
	}
	_, ownPort, _ := strings.Cut(v.web, ":")
	eventually(t, func() error {
		points := v.points(t, "host-a")
		contexts := map[time.Time]map[string]bool{}
		for _, p := range points {
			if strings.HasPrefix(p.Name, "socktally.flow.") {
				if contexts[p.Time] == nil {
					contexts[p.Time] = map[string]bool{}
				}
				contexts[p.Time][p.Labels["server_port"]] = true
			}
		}
		for at, ports := range contexts {
			if len(ports) > budget {
				t.Fatalf("%d combinations at %v: %v", len(ports), at, ports)
			}
		}
		other, _ := flowValues(points, "socktally.flow.closed", map[string]string{"server_port": "other"})
		all, _ := flowValues(points, "socktally.flow.closed", nil)
		own, _ := flowValues(points, "socktally.flow.closed", map[string]string{"server_port": ownPort})
		// The test's own questions to VictoriaMetrics are flows too, and may be among the others.
		if other == 0 || all-own < servers*calls {
			return fmt.Errorf("%v closed, %v to VictoriaMetrics, %v others", all, own, other)
		}
		return nil
	})
	endsWell(t, d)
}

// TestFlowsToManyRemotes meets 50,000 remote addresses as fast as they can be connected to, more in an
// interval than the tracer tells apart, in a namespace where nothing else speaks TCP.
func TestFlowsToManyRemotes(t *testing.T) {
	if !inNamespace(t, socktally) {
		return
	}
	const remotes, budget = 50_000, 500
	d := startDaemon(t,
		"SOCKTALLY_FLOWS=auto", "SOCKTALLY_FLOWS_SCHEDULE=@every 5s", "SOCKTALLY_SCOPE=netns", "SOCKTALLY_SCHEDULE=@every 1h",
		"SOCKTALLY_FORWARD=stdout", "SOCKTALLY_FLOW_TAGS=direction,protocol,remote,server_port",
	)
	d.waitFor(t, msgFlows)
	startTalker(t, fmt.Sprintf("spray %d", remotes))
	eventually(t, func() error {
		others := 0.0
		sums := map[string]float64{}
		for line := range strings.Lines(d.stdout.String()) {
			name, rest, _ := strings.Cut(line, ":")
			value, tags, _ := strings.Cut(rest, "|")
			if name == "socktally.flows.contexts" && number(t, value) > budget {
				t.Fatal(line)
			}
			sums[name] += number(t, value)
			if name == "socktally.flow.closed" && strings.Contains(tags, "remote:other") {
				others += number(t, value)
			}
		}
		for _, name := range []string{"socktally.flow.established", "socktally.flow.closed"} {
			if sums[name] != remotes {
				return fmt.Errorf("%s is %v, want %v", name, sums[name], remotes)
			}
		}
		if others == 0 || others == remotes {
			return fmt.Errorf("%v of %v closed ones are others", others, remotes)
		}
		return nil
	})
	for line := range strings.Lines(text(t, fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			const bound = 60 << 10 // KiB
			t.Logf("%d remotes, at most %s resident", remotes, strings.TrimSpace(peak))
			if kib := number(t, strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(peak), "kB"))); kib > bound {
				t.Errorf("%v KiB resident, the bound is %v", kib, bound)
			}
		}
	}
	endsWell(t, d)
}

// TestFlowsWithoutPrivilege runs the daemon as nobody: it says why, counts what it may, and all else
// goes on.
func TestFlowsWithoutPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "needs root, to become nobody")
	}
	dir := shortDir(t)
	path := filepath.Join(dir, "socktally")
	if out, err := exec.Command("cp", binary(t, socktally), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := start(t, []string{
		"SOCKTALLY_FLOWS_SCHEDULE=@every 1s", "SOCKTALLY_SCHEDULE=@every 1s", "SOCKTALLY_FORWARD=stdout", "SOCKTALLY_LOG_FORMAT=json",
		"SOCKTALLY_STATE_DIR=/nonexistent",
	}, needTool(t, "setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", path, "run", "--env-file", os.DevNull)
	d.waitFor(t, msgFlows)
	eventually(t, func() error {
		for _, name := range []string{"sockstat.tcp.inuse:", "socktally.flows.tallies:"} {
			if !strings.Contains(d.stdout.String(), name) {
				return fmt.Errorf("no %s", name)
			}
		}
		return nil
	})
	// One line says how flows are counted, and one for each part what is lost of it and why.
	var parts []string
	for line := range strings.Lines(d.stderr.String()) {
		var l struct{ Msg, Source, Part, By, Because, Lost, Do string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || !strings.Contains(l.Msg, "flows") {
			continue
		}
		parts = append(parts, l.Source+l.Part)
		if l.Part != "" && (!strings.Contains(l.Because, "CAP_BPF") || l.Lost == "" || l.Do == "") {
			t.Errorf("got %s", line)
		}
	}
	if want := []string{"sockdiag", "tcp", "udp"}; !slices.Equal(parts, want) {
		t.Errorf("the log is about %q, want %q:\n%s", parts, want, &d.stderr)
	}
	endsWell(t, d)
}
