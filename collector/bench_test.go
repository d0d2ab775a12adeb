package collector

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"socktally/metric"
)

// BenchmarkRead is one whole reading: a dozen files and about forty samples.
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

// BenchmarkBareRead is what BenchmarkRead is compared with: the same files, read and thrown away.
func BenchmarkBareRead(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		for _, source := range sources() {
			if _, err := os.ReadFile(filepath.Join("/proc", source.file)); err != nil && (source.required || !errors.Is(err, os.ErrNotExist)) {
				b.Fatal(err)
			}
		}
	}
}
