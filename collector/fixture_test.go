package collector

import (
	"os"
	"path/filepath"
	"testing"
)

// procTree is the proc file system of a test: the text of each file, by its path.
type procTree map[string]string

const (
	sockstatFile  = "self/net/sockstat"
	sockstat6File = "self/net/sockstat6"
	tcpMemFile    = "sys/net/ipv4/tcp_mem"
	udpMemFile    = "sys/net/ipv4/udp_mem"
	orphansFile   = "sys/net/ipv4/tcp_max_orphans"
	twFile        = "sys/net/ipv4/tcp_max_tw_buckets"
	portsFile     = "sys/net/ipv4/ip_local_port_range"
	reservedFile  = "sys/net/ipv4/ip_local_reserved_ports"
	snmpFile      = "self/net/snmp"
	netstatFile   = "self/net/netstat"
	protocolsFile = "self/net/protocols"
	trackedFile   = "sys/net/netfilter/nf_conntrack_count"
	trackMaxFile  = "sys/net/netfilter/nf_conntrack_max"
)

// newTree returns a tree in which no two values are equal, so that none can be mistaken for another.
func newTree() procTree {
	return procTree{
		sockstatFile: "sockets: used 290\n" +
			"TCP: inuse 40 orphan 8 tw 16 alloc 63 mem 22\n" +
			"UDP: inuse 13 mem 6\n" +
			"UDPLITE: inuse 2\n" +
			"RAW: inuse 3\n" +
			"FRAG: inuse 5 memory 4096\n",
		sockstat6File: "TCP6: inuse 27\n" +
			"UDP6: inuse 9\n" +
			"UDPLITE6: inuse 1\n" +
			"RAW6: inuse 4\n" +
			"FRAG6: inuse 7 memory 8192\n",
		tcpMemFile:  "100\t200\t400\n",
		udpMemFile:  "150\t300\t600\n",
		orphansFile: "1024\n",
		twFile:      "2048\n",
		portsFile:   "32768\t60999\n",
		snmpFile: "Ip: Forwarding DefaultTTL InReceives\n" +
			"Ip: 1 64 1001\n" +
			"Tcp: RtoAlgorithm MaxConn ActiveOpens RetransSegs InErrs\n" +
			"Tcp: 1 -1 1002 1003 1004\n" +
			"Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n" +
			"Udp: 1005 1006 1007 1008 1009 1010\n" +
			"UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n" +
			"UdpLite: 1011 1012 1013 1014 1015 1016\n",
		netstatFile: "TcpExt: SyncookiesSent TW ListenOverflows ListenDrops TCPAbortOnMemory TCPMemoryPressures TCPMemoryPressuresChrono\n" +
			"TcpExt: 1017 1018 1019 1020 1021 1022 1023\n" +
			"IpExt: InNoRoutes InTruncatedPkts\n" +
			"IpExt: 1024 1025\n",
		protocolsFile: "protocol  size sockets  memory press maxhdr  slab module     cl co\n" +
			"UDP       1344      0       6   NI       0   yes  kernel      y  y\n" +
			"TCP       2304     63      22   yes    192   yes  kernel      y  y\n",
		trackedFile:  "4097\n",
		trackMaxFile: "65552\n",
	}
}

// with returns the tree with one file changed.
func (p procTree) with(path, text string) procTree {
	p[path] = text
	return p
}

// without returns the tree with files left out.
func (p procTree) without(paths ...string) procTree {
	for _, path := range paths {
		delete(p, path)
	}
	return p
}

// write writes the tree to a temporary directory and returns it.
func (p procTree) write(tb testing.TB) string {
	tb.Helper()
	root := tb.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "self"), 0o755); err != nil {
		tb.Fatal(err)
	}
	for path, text := range p {
		file := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return root
}
