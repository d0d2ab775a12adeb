package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// exposureBound is how exposed systemd may find the service without flows, of 10.
const exposureBound = 1.5

// The two versions that are installed one over the other.
const (
	firstVersion  = "0.0.1~test"
	secondVersion = "0.0.2~test"
)

// makePackages makes the packages of a version for this machine and returns their folder.
func makePackages(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	mustMake(t, "package", "ARCHES=amd64", "VERSION="+version, "DIST="+dir)
	return dir
}

// msgNothingToRead is what SIGHUP makes a daemon say that has no table of networks.
const msgNothingToRead = "there is nothing to read again"

// adminSettings are what the administrator of the tests writes.
const adminSettings = `# mine
SOCKTALLY_SCHEDULE=@every 1s
SOCKTALLY_FLOWS_SCHEDULE="@every 1s"
SOCKTALLY_FLOW_TAGS=direction,protocol,service,remote,server_port,source
SOCKTALLY_TAGS=team:net
SOCKTALLY_FORWARD=dogstatsd,http
SOCKTALLY_HTTP_URL=http://127.0.0.1:9
SOCKTALLY_LISTEN=127.0.0.1:8127
`

// TestPackages installs the packages in a booted Debian, as its users do.
func TestPackages(t *testing.T) {
	t.Parallel()
	needRoot(t)
	first, second := makePackages(t, firstVersion), makePackages(t, secondVersion)
	exporter := binary(t, statsdExporter)
	// What takes long or needs much is done in one suite.
	for suite, own := range map[string]string{"bookworm": "rpm", "bullseye": "cron"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			root := bootstrap(t, suite, "systemd", "systemd-sysv", "dbus", own)
			m := &installation{machine: bootMachine(t, root), first: "/packages/first", second: "/packages/second"}
			t.Cleanup(func() {
				if journal, _ := m.try("journalctl --no-pager -n 40"); t.Failed() {
					t.Log(journal)
				}
			})
			for to, from := range map[string]string{m.first: first, m.second: second} {
				if err := os.CopyFS(filepath.Join(root, to), os.DirFS(from)); err != nil {
					t.Fatal(err)
				}
			}
			m.copyIn(t, exporter, "/usr/local/bin/statsd_exporter", 0o755)
			m.do(t, "systemd-run --quiet --unit=receiver statsd_exporter --statsd.listen-udp=127.0.0.1:8125 --web.listen-address=127.0.0.1:9102")

			for _, step := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"install", m.testInstall},
				{"start", m.testStart},
				{"restart", m.testRestart},
				{"watchdog", m.testWatchdog},
				{"timer", m.testTimer},
				{"flows", m.testFlows},
				{"upgrade", m.testUpgrade},
				{"remove", m.testRemove},
				{own, map[string]func(*testing.T){"cron": m.testCron, "rpm": m.testRPM}[own]},
			} {
				if !t.Run(step.name, step.run) {
					return // what follows stands on it
				}
			}
		})
	}
}

// installation is a machine with the packages of two versions in two folders.
type installation struct {
	*machine
	first, second string
}

// points returns what the receiver in the machine has.
func (m *installation) points(t *testing.T) []point {
	t.Helper()
	return exporterPoints(t, m.do(t, `exec 3<>/dev/tcp/127.0.0.1/9102; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`))
}

func (m *installation) readings(t *testing.T) float64 {
	t.Helper()
	return sum(find(m.points(t), "socktally_readings"))
}

// lastReadings returns how many readings the receiver has when no more come, after the service has ended.
func (m *installation) lastReadings(t *testing.T) (last float64) {
	t.Helper()
	eventually(t, func() error {
		before := m.readings(t)
		time.Sleep(time.Second) // the receiver takes in what it got five times a second
		if last = m.readings(t); last != before {
			return fmt.Errorf("%v readings, a second before %v", last, before)
		}
		return nil
	})
	return last
}

// readingsGoOn waits until the receiver has more readings than now.
func (m *installation) readingsGoOn(t *testing.T) {
	t.Helper()
	checkReadingsGrow(t, outage{readings: m.readings})
}

// property returns a property of the service as systemd tells it.
func (m *installation) property(t *testing.T, name string) string {
	t.Helper()
	// bullseye's systemctl has no --value that stands alone with -p for each version: cut it off here.
	return strings.TrimPrefix(m.do(t, "systemctl show -p "+name+" socktally.service"), name+"=")
}

// restartsAfter waits until systemd has started the service again by itself, after a script.
func (m *installation) restartsAfter(t *testing.T, script string) {
	t.Helper()
	pid, restarts := m.property(t, "MainPID"), m.number(t, "NRestarts")
	m.do(t, strings.ReplaceAll(script, "PID", pid))
	eventually(t, func() error {
		if state := m.property(t, "ActiveState"); state != "active" || m.number(t, "NRestarts") <= restarts {
			return fmt.Errorf("the service is %s and was started again %s times, before %v", state, m.property(t, "NRestarts"), restarts)
		}
		return nil
	})
	if now := m.property(t, "MainPID"); now == pid {
		t.Error("the process is the one before")
	}
	m.readingsGoOn(t)
}

func (m *installation) number(t *testing.T, property string) float64 {
	t.Helper()
	return number(t, m.property(t, property))
}

// wantState holds the service to what systemctl is-active and is-enabled say of it.
func (m *installation) wantState(t *testing.T, active, enabled string) {
	t.Helper()
	isActive, _ := m.try("systemctl is-active socktally")
	isEnabled, _ := m.try("systemctl is-enabled socktally")
	if isActive != active || isEnabled != enabled {
		t.Errorf("the service is %s and %s, want %s and %s", isActive, isEnabled, active, enabled)
	}
}

func (m *installation) testInstall(t *testing.T) {
	m.do(t, "dpkg -i "+m.first+"/*.deb")
	m.wantState(t, "inactive", "disabled")
	if said := m.do(t, "systemd-analyze verify --man=no /usr/lib/systemd/system/socktally*.service /usr/lib/systemd/system/socktally*.timer 2>&1 | { grep socktally || true; }"); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	said := m.do(t, "systemd-analyze security --no-pager socktally.service")
	found := regexp.MustCompile(`Overall exposure level for socktally.service: (\S+)`).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("no exposure in\n%s", said)
	}
	t.Logf("%s", found[0])
	if exposure := number(t, found[1]); exposure > exposureBound {
		t.Errorf("the exposure is %v, the bound is %v:\n%s", exposure, exposureBound, said)
	}
	if said := m.do(t, "stat -c '%a %U:%G' /etc/socktally/socktally.env"); said != "640 root:root" {
		t.Errorf("the settings are %s", said)
	}
}

func (m *installation) testStart(t *testing.T) {
	if err := os.WriteFile(filepath.Join(m.root, "etc/socktally/socktally.env"), []byte(adminSettings), 0o640); err != nil {
		t.Fatal(err)
	}
	m.do(t, "systemctl enable --now socktally")
	m.wantState(t, "active", "enabled")
	m.readingsGoOn(t)
	status := m.do(t, "cat /proc/"+m.property(t, "MainPID")+"/status")
	if !strings.Contains(status, "CapEff:\t0000000000000000") || strings.Contains(status, "Uid:\t0") {
		t.Errorf("the service is root or has capabilities:\n%s", status)
	}
	if said, _ := m.try("socktally doctor --pid " + m.property(t, "MainPID")); !strings.Contains(said, "off, by SOCKTALLY_FLOWS") {
		t.Errorf("doctor does not see that the service has flows off:\n%s", said)
	}
	// The limits come from /proc/sys, which a hardening that goes too far hides. Those of the whole kernel
	// are not visible in the machine's network namespace.
	points := m.points(t)
	for _, name := range []string{"sockstat_tcp_inuse", "sockstat_tcp_mem", "sockstat_tcp_tw_ratio", "sockstat_ports_range"} {
		if got := find(points, name); len(got) != 1 || got[0].Labels["team"] != "net" {
			t.Errorf("%s is %v, want one point of team net", name, got)
		}
	}
	if got, _ := flowValues(points, "socktally_flows_tallies", nil); got != 0 {
		t.Errorf("%v tallies of flows without the drop-in", got)
	}
}

func (m *installation) testRestart(t *testing.T) {
	m.do(t, "systemctl restart socktally")
	m.readingsGoOn(t)
	m.do(t, "systemctl reload socktally")
	eventually(t, func() error {
		if said := m.do(t, "journalctl --no-pager -u socktally"); !strings.Contains(said, msgNothingToRead) {
			return fmt.Errorf("the journal lacks %q", msgNothingToRead)
		}
		return nil
	})
	m.restartsAfter(t, "kill -KILL PID")
	// Bad settings fail the start and are tried again until they are mended.
	m.do(t, "mv /etc/socktally/socktally.env /root; echo SOCKTALLY_SCHEDULE=never >/etc/socktally/socktally.env")
	if out, err := m.try("systemctl restart socktally"); err == nil {
		t.Errorf("the service starts with bad settings: %s", out)
	}
	if code := m.property(t, "ExecMainStatus"); code != "2" {
		t.Errorf("the service ended with %s, want 2", code)
	}
	m.do(t, "mv /root/socktally.env /etc/socktally")
	eventually(t, func() error {
		if state := m.property(t, "ActiveState"); state != "active" {
			return fmt.Errorf("the service is %s", state)
		}
		return nil
	})
	m.readingsGoOn(t)
}

// testWatchdog stops the process, which systemd notices only by its silence.
func (m *installation) testWatchdog(t *testing.T) {
	m.do(t, `mkdir -p /run/systemd/system/socktally.service.d
		printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/socktally.service.d/watchdog.conf
		systemctl daemon-reload
		systemctl restart socktally`)
	m.readingsGoOn(t)
	m.restartsAfter(t, "kill -STOP PID")
	if said := m.do(t, "journalctl --no-pager -u socktally"); !strings.Contains(said, "Watchdog timeout") {
		t.Errorf("the journal says nothing of the watchdog:\n%s", said)
	}
	m.do(t, "rm /run/systemd/system/socktally.service.d/watchdog.conf; systemctl daemon-reload; systemctl restart socktally")
}

// testTimer has the other way to run it, which takes the place of a crontab.
func (m *installation) testTimer(t *testing.T) {
	m.do(t, "systemctl stop socktally")
	before := m.lastReadings(t)
	m.do(t, "systemctl start socktally-once.service")
	eventually(t, func() error {
		if now := m.readings(t); now != before+1 {
			return fmt.Errorf("%v readings, want %v", now, before+1)
		}
		return nil
	})
	m.do(t, "systemctl start socktally-once.timer; systemctl is-active socktally-once.timer; systemctl stop socktally-once.timer")
	m.do(t, "systemctl start socktally")
}

// testFlows turns flows on as the documentation says.
func (m *installation) testFlows(t *testing.T) {
	m.do(t, `mkdir -p /etc/systemd/system/socktally.service.d
		ln -s /usr/lib/socktally/flows.conf /etc/systemd/system/socktally.service.d/
		systemctl daemon-reload && systemctl restart socktally`)
	status := m.do(t, "cat /proc/"+m.property(t, "MainPID")+"/status")
	// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF, which are 12, 38 and 39.
	if want := fmt.Sprintf("CapEff:\t%016x", 1<<12|1<<38|1<<39); !strings.Contains(status, want) || strings.Contains(status, "Uid:\t0") {
		t.Errorf("the service is root or has not %s:\n%s", want, status)
	}
	eventually(t, func() error {
		// To look at the points makes a connection.
		points := m.points(t)
		tcp, _ := flowValues(points, "socktally_flow_established", map[string]string{"protocol": "tcp", "server_port": "9102", "source": "ebpf"})
		udp, _ := flowValues(points, "socktally_flow_packets_sent", map[string]string{"protocol": "udp", "server_port": "8125", "source": "ebpf"})
		if tcp == 0 || udp == 0 {
			journal, _ := m.try("journalctl --no-pager -n 5 -u socktally")
			return fmt.Errorf("%v connections and %v datagrams are counted:\n%s", tcp, udp, journal)
		}
		return nil
	})
	// It is not well in all: the intake is not there, and the machine has a network namespace of its own.
	said, _ := m.try("socktally doctor --pid " + m.property(t, "MainPID"))
	for _, want := range []string{"held: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN; missing: CAP_SYS_PTRACE", "udp://127.0.0.1:8125 is open on this host and has dropped 0 datagrams", "http: "} {
		if !strings.Contains(said, want) {
			t.Errorf("doctor does not say %q:\n%s", want, said)
		}
	}
	if said := m.do(t, "systemd-analyze security --no-pager socktally.service | tail -n 1"); said != "" {
		t.Logf("with flows: %s", said)
	}
}

// kept lists the settings and what waits on the disk.
func (m *installation) kept(t *testing.T) []string {
	t.Helper()
	return strings.Fields(m.do(t, "cd /var/lib/socktally/spool/http && ls | head -n 3"))
}

// opened asks the API how many connections to the receiver were opened in the last hour.
func (m *installation) opened(t *testing.T) (n int64) {
	t.Helper()
	said := m.do(t, "socktally connections --json --from '1h ago' --group-by server_port --filter server_port:9102")
	var answer struct {
		Data []struct {
			Attributes struct {
				Opened int64 `json:"tcp_established_connections"`
			} `json:"attributes"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(said), &answer); err != nil {
		t.Fatalf("the API says %s: %v", said, err)
	}
	for _, row := range answer.Data {
		n += row.Attributes.Opened
	}
	return n
}

func (m *installation) testUpgrade(t *testing.T) {
	before, opened := m.kept(t), m.opened(t)
	if opened == 0 {
		t.Error("the API knows of no connection")
	}
	if len(before) != 3 {
		t.Fatalf("%d readings wait on the disk, want state for an upgrade to keep", len(before))
	}
	pid := m.property(t, "MainPID")
	m.do(t, "dpkg -i "+m.second+"/*.deb </dev/null")
	m.wantState(t, "active", "enabled")
	if m.property(t, "MainPID") == pid {
		t.Error("the process of the version before still runs")
	}
	m.checkKept(t, secondVersion, before)
	m.readingsGoOn(t)

	// One that was stopped stays so, and so does one that was disabled.
	m.do(t, "systemctl disable --now socktally; dpkg -i "+m.first+"/*.deb </dev/null; dpkg -i "+m.second+"/*.deb </dev/null")
	m.wantState(t, "inactive", "disabled")
	m.checkKept(t, secondVersion, before)
	m.do(t, "systemctl enable --now socktally")
	m.readingsGoOn(t)
	if now := m.opened(t); now < opened {
		t.Errorf("the API knows of %d connections, before the upgrades of %d", now, opened)
	}
}

// checkKept holds the machine to a version, the administrator's settings and readings that wait.
func (m *installation) checkKept(t *testing.T, version string, waiting []string) {
	t.Helper()
	if said := m.do(t, "socktally version"); !strings.HasPrefix(said, "socktally "+version+" ") {
		t.Errorf("installed is %s, want %s", said, version)
	}
	if said := m.do(t, "cat /etc/socktally/socktally.env"); said != strings.TrimSpace(adminSettings) {
		t.Errorf("the settings are now %s", said)
	}
	for _, name := range waiting {
		if _, err := m.try("test -f /var/lib/socktally/spool/http/" + name); err != nil {
			t.Errorf("%s waits no more", name)
		}
	}
}

func (m *installation) testRemove(t *testing.T) {
	m.do(t, "dpkg -r socktally")
	if said, _ := m.try("systemctl is-active socktally"); said != "inactive" {
		t.Errorf("the service is %s after the removal", said)
	}
	m.do(t, "test ! -e /usr/bin/socktally && test -f /etc/socktally/socktally.env && test -d /var/lib/private/socktally/spool")
	m.do(t, "dpkg -P socktally")
	m.wantNothingLeft(t)
}

// wantNothingLeft looks for files with the name socktally on the machine, but for those of the tests and
// the journal.
func (m *installation) wantNothingLeft(t *testing.T) {
	t.Helper()
	left := m.do(t, "find / -xdev -name '*socktally*' -not -path '/packages/*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/tmp/*'; systemctl reset-failed; systemctl list-units --all --no-legend 'socktally*'")
	if left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}
