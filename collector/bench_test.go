package collector

import (
	"os"
	"testing"
	"time"

	"socktally/metric"
)

// BenchmarkRead is one whole reading: seven files and about thirty samples.
func BenchmarkRead(b *testing.B) {
	c, err := New("/proc", metric.Host)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Read(time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareRead reads one file and does nothing with it. BenchmarkRead is compared with that.
func BenchmarkBareRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := os.ReadFile("/proc/self/net/sockstat"); err != nil {
			b.Fatal(err)
		}
	}
}
