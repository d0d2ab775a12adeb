package collector

import (
	"os"
	"path/filepath"
	"testing"
)

// procTree is a proc file system as it is in a test: the text of each file by its path.
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
