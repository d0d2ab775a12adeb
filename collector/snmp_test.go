package collector

import (
	"strings"
	"testing"

	"socktally/metric"
)

// TestCounterFaults has one fault in a file of counters: it costs the counter or the line that it is in.
func TestCounterFaults(t *testing.T) {
	snmp, netstat, press := newTree()[snmpFile], newTree()[netstatFile], newTree()[protocolsFile]
	ofUDP := []string{"sockstat.udp.no_ports", "sockstat.udp.rcvbuf_errors", "sockstat.udp.sndbuf_errors"}
	ofTCP := []string{"sockstat.tcp.retrans_segs"}
	tests := []struct {
		name, file, text string
		lost             []string
		fault            string // the one line of the error, after the path; "" for none
	}{
		{"a word nobody asks for", snmpFile, strings.Replace(snmp, "1002", "many", 1), nil, ""},
		{"a counter", snmpFile, strings.Replace(snmp, "1003", "many", 1), ofTCP, `line Tcp: counter RetransSegs: strconv.ParseUint: parsing "many": invalid syntax`},
		{"a counter below zero", snmpFile, strings.Replace(snmp, "1006", "-1", 1), ofUDP[:1], `line Udp: counter NoPorts: strconv.ParseUint: parsing "-1": invalid syntax`},
		{"a value too few", snmpFile, strings.Replace(snmp, " 1008", "", 1), ofUDP, "line Udp: 6 names and 5 values"},
		{"a value too many", snmpFile, strings.Replace(snmp, " 1004", " 1004 0", 1), ofTCP, "line Tcp: 5 names and 6 values"},
		{"a line without values", snmpFile, strings.Replace(snmp, "Tcp: 1 -1 1002 1003 1004\n", "", 1), ofTCP, `line "Tcp: RtoAlgorithm MaxConn ActiveOpens Re" is not followed by its values`},
		{"a line between", netstatFile, "x\n" + netstat, nil, `line "x" is not followed by its values`},
		{"an unknown line", netstatFile, netstat + "NewExt: A\nNewExt: 1\n", nil, ""},
		{"a counter that the kernel lacks", netstatFile, strings.NewReplacer(" TCPAbortOnMemory", "", " 1021", "").Replace(netstat), []string{"sockstat.tcp.abort_on_memory"}, ""},
		{"a flag that is neither", protocolsFile, strings.Replace(press, "yes    192", "maybe  192", 1), []string{"sockstat.tcp.pressure"}, `TCP's press is "maybe", want yes or no`},
		{"a flag that the kernel lacks", protocolsFile, strings.Replace(press, "yes    192", "NI     192", 1), []string{"sockstat.tcp.pressure"}, ""},
		{"a short line of another protocol", protocolsFile, press + "X\n", nil, ""},
		{"no TCP", protocolsFile, "protocol press\n", []string{"sockstat.tcp.pressure"}, " has no press of TCP"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := wholeReading()
			for _, name := range test.lost {
				delete(want, name)
			}
			got, err := read(t, newTree().with(test.file, test.text), metric.Host)
			compare(t, got, want)
			switch {
			case test.fault == "" && err != nil:
				t.Error(err)
			case test.fault != "" && (err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), test.file) || !strings.HasSuffix(err.Error(), test.fault)):
				t.Errorf("got the error\n%v\nwant one line that ends in\n%s", err, test.fault)
			}
		})
	}
}
