package collector_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"socktally/collector"
	"socktally/metric"
)

func Example() {
	// In place of /proc, a folder with what a kernel printed.
	proc, err := os.MkdirTemp("", "proc")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(proc)
	if err := os.CopyFS(filepath.Join(proc, "self/net"), os.DirFS("testdata/6.12")); err != nil {
		fmt.Println(err)
		return
	}

	c, err := collector.New(proc, metric.Host)
	if err != nil {
		fmt.Println(err)
		return
	}
	samples, err := c.Read(time.Now())
	for _, s := range samples[:3] {
		fmt.Println(s.Name, s.Kind, s.Value)
	}
	fmt.Println(err)
	// Output:
	// sockstat.sockets.used gauge 6
	// sockstat.tcp.inuse gauge 3
	// sockstat.tcp.orphan gauge 0
	// <nil>
}
