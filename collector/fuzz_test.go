package collector

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"socktally/metric"
)

// FuzzRead feeds the text of a file of counters, and of a limit, to a reading.
func FuzzRead(f *testing.F) {
	whole := newTree()
	for _, text := range []string{
		whole[sockstatFile],
		whole[sockstat6File],
		whole[snmpFile],
		whole[netstatFile],
		whole[protocolsFile],
		"Tcp: RetransSegs\nTcp:",
		"Tcp: RetransSegs\nTcp: 1 2\nUdp:\nUdp:",
		"Tcp:RetransSegs\nTcp:1\n:\n:\n",
		"TcpExt: ListenDrops ListenDrops\nTcpExt: -1 18446744073709551616",
		"protocol press\nTCP \nTCP",
		"protocol press\nTCP maybe\n",
		"",
		"\n",
		"TCP:",
		"TCP: inuse",
		"TCP: inuse 1 orphan",
		"TCP: inuse x",
		"TCP: inuse -1 orphan -2 tw -3 alloc -4 mem -5",
		"TCP: mem 9223372036854775807",
		"TCP: inuse 0x10",
		"TCP: inuse 1\nTCP: inuse 2",
		"PORTS: inuse 1 memory 2",
		": mem 1",
		"TCP: mem 1\r\nUDP:\tinuse 1",
		"TCP:  inuse  1",
		"\xff\xfe: inuse 1",
	} {
		f.Add(text, "100\t200\t400\n")
	}
	for _, limit := range []string{"", "0 0 0", "-1 -1 -1", "9223372036854775807 9223372036854775807 9223372036854775807", "1 2", "a b c", "1,3-5,65535", "5-1,", "-,-"} {
		f.Add(whole[sockstatFile], limit)
	}

	root := whole.write(f)
	c, err := New(root, metric.Host)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, limit string) {
		for path, content := range map[string]string{sockstatFile: text, sockstat6File: text, snmpFile: text, netstatFile: text,
			protocolsFile: text, tcpMemFile: limit, udpMemFile: limit, reservedFile: limit, trackMaxFile: limit} {
			if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		samples, _ := c.Read(readAt)
		for _, s := range samples {
			d, known := metric.Lookup(s.Name)
			if !known || d.Scope == metric.Process || (s.Kind == metric.Gauge) != (d.Kind == metric.Gauge) || s.Kind == metric.Count {
				t.Errorf("%+v is not of the kernel in the catalogue", s)
			}
			if math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
				t.Errorf("%s = %v", s.Name, s.Value)
			}
		}
	})
}
